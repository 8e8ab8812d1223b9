"""What an operator writes in YAML, and what it becomes; a mistake is named by file, line and key.

Nothing here imports dagster.
"""
