"""What stands in the log bucket: names, records and dead letters, written and read in one place."""
