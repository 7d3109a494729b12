"""Small honest stand-ins for time and for the vendors, and short ways to build what the verbs pass around."""
