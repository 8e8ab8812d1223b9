"""What an operator writes in YAML, and what it becomes; a mistake is named by file, line and key.

It holds the keys of `defs.yaml`, their rules, and the `SyncedTable` that each entry becomes. It may
not know Dagster, which it never imports, nor open a connection.
"""
