"""Questions between runs, which change nothing: how fresh, why this row, what is there to sync."""
