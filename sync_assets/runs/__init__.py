"""What a step does while it runs: tell failures apart, heed its run's end, log where it is.

It holds what stands between Dagster's runs and the engine's errors and progress, and opens the
home that records them. It may not know how an asset is made: it serves a step of any of them, and
of a check.
"""
