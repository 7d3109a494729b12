"""Buckets and their objects, in memory: a plain model without wire, clock or signatures."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from localcloud.storage.multipart import Upload
from localcloud.storage.stored import StoredObject


class Bucket:
    """The objects of one bucket, by key, and its unfinished multipart uploads.

    While `keeps_crc64` is off, what is written gets no checksum, like the objects of long ago.
    """

    def __init__(self, name: str, region: str, created_at: float) -> None:
        self.name = name
        self.region = region
        self.created_at = created_at
        self.keeps_crc64 = True
        self.uploads: dict[str, Upload] = {}
        self._objects: dict[str, StoredObject] = {}
        self._order: list[str] = []
        self._unordered: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def __contains__(self, key: object) -> bool:
        return key in self._objects

    def get(self, key: str) -> StoredObject | None:
        """Return an object, or None."""
        return self._objects.get(key)

    def put(self, stored: StoredObject) -> StoredObject | None:
        """Store an object and return the one it replaced, or None."""
        replaced = self._objects.get(stored.key)
        self._objects[stored.key] = stored
        if replaced is None:
            self._unordered[stored.key] = None
        return replaced

    def delete(self, key: str) -> StoredObject | None:
        """Remove an object and return it, or None if there was none."""
        gone = self._objects.pop(key, None)
        if gone is None:
            return None
        if key in self._unordered:
            del self._unordered[key]
        else:
            del self._order[bisect_left(self._order, key)]
        return gone

    def keys(self) -> Sequence[str]:
        """Return all keys in the order of their UTF-8 bytes. Do not change the answer.

        Sorting waits until somebody lists, so that a put costs the same in a bucket of any size.
        """
        if self._unordered:
            self._order.extend(self._unordered)
            self._order.sort()
            self._unordered.clear()
        return self._order
