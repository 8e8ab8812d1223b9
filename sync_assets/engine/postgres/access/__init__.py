"""How a connection comes about: where a database is, what lets us in, and the session's first words.

`database.py` is what a caller hands over, `connect.py` what opens a connection from it. It may not
ask a server about anything but the session.
"""
