"""What asks for runs and looks at them: sensors, schedules, checks and alerts."""
