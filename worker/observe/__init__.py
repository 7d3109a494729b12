"""What the relay tells: metrics, log lines, traces. Nothing here decides anything."""
