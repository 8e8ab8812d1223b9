"""What will hurt, found before it hurts; nothing is changed on either end.

In go tables and both servers, whose facts are read once; out come findings, each made by a small
function of those facts. It may not know a run that is under way, and starts none.
"""
