"""What the target remembers of each table: the mark, whom it came from, and the receipts.

It is written in the transaction that publishes rows, and read before the next one is planned.
"""
