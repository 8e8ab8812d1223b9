"""A load by pieces, each under a short snapshot of its own, that goes on where it was ended.

In goes a table of which every row is to be read, for the first time or again; out comes its receipt,
as if it had been read at once. It may not know what a later run does, but ends as one: its last step
is a run's.
"""
