"""What a step does while it runs: tell failures apart, heed its run's end, log where it is.

And Dagster's home, where all that is recorded.
"""
