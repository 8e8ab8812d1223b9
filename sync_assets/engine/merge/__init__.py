"""From staging into the target: deletes, MERGE, true counts, and proof of what was written.

All of it happens inside the one transaction that publishes.
"""
