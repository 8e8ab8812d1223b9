"""What a run will read, and why.

In go state, snapshot and layout; out comes a Plan of chunks. Nothing is read here but what decides.
"""
