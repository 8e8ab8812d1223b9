"""What will hurt, found before it hurts; nothing is changed on either end.

Facts are read once; each finding is a small function of them.
"""
