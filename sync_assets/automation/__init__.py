"""What asks for runs and looks at them: sensors, schedules, checks and alerts.

It holds when a table is due, and what is told to whom. It asks Dagster for runs and starts none
itself; it may not know how an asset does its work, and holds no SQL.
"""
