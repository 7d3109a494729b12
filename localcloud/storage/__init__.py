"""What OSS and OBS have in common: objects, their order, pages of them, parts, checksums, and XML."""
