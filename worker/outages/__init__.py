"""What stands between the flow and services that fail: limits, retries, breakers, probes."""
