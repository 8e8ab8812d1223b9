"""Commands that change no database, so that anybody may try them on any.

One module each, of the same name; each holds its options and what it prints. It may not hold SQL or a
decision, which are the engine's, nor import a command that changes something.
"""
