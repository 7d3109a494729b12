"""The three services as asyncio clients: they sign, send, read, classify, and keep no state of the flow."""
