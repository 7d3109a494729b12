"""From the body of a message to the object events in it, and the keys they name."""
