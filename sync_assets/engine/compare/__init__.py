"""Both ends, by checksums of their rows.

In go two scans of a table, each at one moment; out come the rows that differ.
"""
