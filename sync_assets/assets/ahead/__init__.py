"""Work that a run does in threads of one process, ahead of the ops that it belongs to.

It may not know how an asset reports it.
"""
