"""What the end-to-end tests share: a relay to watch, real processes, and the final account."""
