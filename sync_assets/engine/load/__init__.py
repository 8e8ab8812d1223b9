"""From files to a staging table on the target, and what that table needs to be there first.

In go a plan and its batch files; out comes a Staged: the table, its counts and its newest rows. It
may not touch a row of the target itself: schemas, types and staging tables are all it makes.
"""
