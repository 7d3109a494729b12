"""What OSS and OBS have in common: objects, their order, pages, parts, checksums, ids, targets, and XML."""
