"""The protocol, top to bottom: snapshot, plan, export, load, merge, state.

In go tables and two URLs; out come their receipts, or, of `forecast`, what a run would do. It sets
the order in which the packages below act and holds their transactions; it may not know who asked
for the run, nor how its result is checked.
"""
