"""The versions of a target's rows, in a table beside it: what each row was, and from when to when.

In go the target as a run has written it, and which rows that run may have touched; out come counts
of versions. It happens inside the transaction that publishes. How a row came to be as it is, it may
not know: what is compared are the target's own rows with their open versions.
"""
