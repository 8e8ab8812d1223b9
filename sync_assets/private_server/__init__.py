"""A private PostgreSQL server beside Dagster's own processes: for the demo, the UI and the tests."""
