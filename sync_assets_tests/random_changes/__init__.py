"""Random changes of a table, drawn by hypothesis and written against the table as it then is."""
