"""How we speak to a server: connections, transactions, locks, the catalog, and errors by SQLSTATE.

In go URLs and names; out come rows, relations and `SyncError`s. It may not know
what a sync reads of its source, nor what it writes to its target.
"""
