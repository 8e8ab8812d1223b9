"""Is the target right? Compared row by row, by samples or by counts, and repaired."""
