"""Where settings come from, and addresses and proxies as people write them."""
