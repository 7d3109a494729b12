"""A source of objects, at any time of their own, where no OSS runs."""

from __future__ import annotations

from localcloud.storage.stored import Described, StoredObject, md5_of


def stored(
    key: str, data: bytes, at: float, content_type: str = "text/plain", *, has_crc64: bool = True
) -> StoredObject:
    """An object as it stands, written at `at`."""
    described = Described(content_type)
    return StoredObject(key, data, md5_of(data), at, described, has_crc64=has_crc64)


class Source:
    """Objects by bucket and key; `reads` counts how often it was asked."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], StoredObject] = {}
        self.reads = 0

    def read(self, bucket: str, key: str) -> StoredObject | None:
        self.reads += 1
        return self._objects.get((bucket, key))

    def put(self, bucket: str, key: str, data: bytes, at: float, *, has_crc64: bool = True) -> None:
        self.place(bucket, stored(key, data, at, has_crc64=has_crc64))

    def place(self, bucket: str, placed: StoredObject) -> None:
        self._objects[bucket, placed.key] = placed
