"""Settings of the relay."""
