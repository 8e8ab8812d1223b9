"""Is the target right? Compared row by row, by samples or by counts, and repaired.

In go tables; out come a Verification of each, or counts. What it syncs, before or as a repair, goes
the way of every run; it may not write to the target by any other, nor know who reads the verdict.
"""
