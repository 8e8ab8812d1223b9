"""From the source to files: the chunks of a plan, read by several workers on one snapshot.

In go plans, chunks and the connection that took the snapshot; out come batch files, as they get
full, and counts of what is in them. It may not know the target, nor who takes the files.
"""
