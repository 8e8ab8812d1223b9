"""What the source computes in a column's place: expressions, a user's own SQL, and masks.

It may not know of tables as users describe them: those are made of it.
"""
