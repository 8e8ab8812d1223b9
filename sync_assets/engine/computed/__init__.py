"""What the source computes in a column's place, as its user writes it.

It may not know of tables as users describe them: those are made of it.
"""
