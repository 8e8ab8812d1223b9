"""What a run will read, and why.

In go state, snapshot and layout; out comes a Plan, which nobody changes after.
"""
