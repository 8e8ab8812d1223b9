"""How the source's columns fit into the target's table, and what alters it (pure).

In go two relations and what the last run left; out comes a Layout, with its alterations as
statements. It executes none of them, and may not know which rows a run reads.
"""
