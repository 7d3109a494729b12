"""A local cloud, a relay and its console that stay, with traffic, and keys that make things go wrong."""
