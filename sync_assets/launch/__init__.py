"""Dagster from the command line: its instance, a run in this process, the pools."""
