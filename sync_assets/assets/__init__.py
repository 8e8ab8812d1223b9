"""The target tables and their sources as assets: their bodies, specs, lineage and metadata.

It holds every name that Dagster shows, and what happens when a table is materialized: look, call
the engine, report. It may not know what asked for the run, and holds no SQL.
"""
