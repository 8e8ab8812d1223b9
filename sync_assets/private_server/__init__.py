"""A private PostgreSQL server beside Dagster's own processes: for the demo, the UI and the tests.

It holds how such processes are started, under which account, and that none outlives us. It may not
know tables, syncs or the demo's story.
"""
