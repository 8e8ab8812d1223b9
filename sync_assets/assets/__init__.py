"""The target tables and their sources as assets: their bodies, specs, lineage and metadata."""
