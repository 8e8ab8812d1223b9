"""Questions between runs, which change nothing: how fresh, why this row, what is there to sync.

In go tables and URLs; out come markers, statuses, an inventory, and the story of one row. It may not
know how a run goes: what it says of one comes from the state that the run has left.
"""
