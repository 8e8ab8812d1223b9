"""From staging into the target: deletes, MERGE, true counts, and proof of what was written.

In goes what was staged for a group of tables; out come counts of what was written to each. All of
it happens inside one transaction that the caller opens, and commits with mark and receipts: those
it may not know. Of the source it asks only whether rows that are in the way are still there.
"""
