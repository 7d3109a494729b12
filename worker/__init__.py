"""The relay: receive, decode, dedupe, post, record, delete."""

__version__ = "0.1.0"
