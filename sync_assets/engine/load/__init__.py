"""From files to a staging table on the target, and what that table needs to be there first."""
