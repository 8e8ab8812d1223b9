"""Dagster from the command line: its instance, a run in this process, the pools.

It holds what stands between a command and Dagster: one finds or makes its instance, one runs the
selected tables and tells a listener. It may not know the command's options nor how a result is
printed.
"""
