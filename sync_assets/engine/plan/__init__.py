"""What a run will read, and why.

In go state, snapshot and layout; out comes a Plan of chunks. It reads only what decides that, and
may not know the files that chunks become, nor how they are merged.
"""
