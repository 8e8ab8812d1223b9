"""The tables to sync: one folder per group, each with a `defs.yaml` (see example.yaml)."""
