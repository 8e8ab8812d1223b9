"""The source at one moment: what is locked, seen and in scope, and what its WAL says has changed.

In goes a table; out comes a snapshot of it, with proof that nothing was rewritten below it. It may
not know what the last run left on the target, but as values that are handed in.
"""
