"""What stops tables from being synced: found, remembered, and told once.

In go the two ends, the batch disk and what is switched off in Dagster; out come the hindrances that
are told of now, and those that stand. It may not know who tells of them: a sensor, `status`, a skip.
"""
