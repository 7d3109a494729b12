"""What the workers of one task agree on, through a folder of the log bucket."""
