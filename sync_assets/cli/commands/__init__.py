"""The commands, one module each, of the same name.

Each holds its options and what it prints. It may not hold SQL, nor a decision about a sync: it asks
the engine, and for runs `sync_assets.launch`.
"""
