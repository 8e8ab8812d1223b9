"""How we speak to a server: connections, transactions, locks, the catalog, and errors by SQLSTATE.

In go URLs and names; out come rows, relations and `SyncError`s. It knows nothing of a sync.
"""
