"""What tables have besides rows: indexes, constraints, defaults, made on the target as the source has them.

In go catalog entries of both ends and what was made before; out come statements that a run executes
once its rows are published. It may not read or write a row, nor run code of the source's.
"""
