"""The demo: real listings in a private PostgreSQL server, and the story told with them.

It holds the data, the stage and a comparison of its own. It syncs as a user does, by the command
line, and may not know the engine but for its errors: it is there to judge it.
"""
