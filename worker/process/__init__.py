"""One process: its start, its signals, its health, and how all parts are put together."""
