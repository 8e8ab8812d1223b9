"""What the target remembers of each table: the mark, whom it came from, and the receipts.

In goes what a run has seen and written, in the transaction that publishes rows; out comes a State,
before the next run is planned. It may not know how a plan is made of it.
"""
