"""The flow: receive -> decode -> dedupe -> post -> record -> delete. Begin with `flow.py`."""
