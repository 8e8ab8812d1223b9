"""A whole Dagster at work: UI, daemon, code servers, workers, and a browser on it."""
