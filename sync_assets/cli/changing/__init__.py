"""Commands that may change a database: its tables, or what is remembered of them.

One module each, of the same name; each holds its options and what it prints. It may not hold SQL, nor
a decision about a sync: it asks the engine, and for runs `sync_assets.launch`.
"""
