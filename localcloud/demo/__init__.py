"""The whole job on this machine: objects in, events out, the relay between, and an account at the end."""
