"""Buckets in memory: OBS as far as OMS needs it, and a source where no OSS runs."""

from __future__ import annotations

from localcloud.oms.task import SourceObject


class Buckets:
    """Objects by bucket and key; a bucket exists from its first object on."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, SourceObject]] = {}

    def read(self, bucket: str, key: str) -> SourceObject | None:
        """Return an object, or None."""
        return self._objects.get(bucket, {}).get(key)

    def write(self, bucket: str, key: str, written: SourceObject) -> None:
        """Put an object, in place of the one there was."""
        self._objects.setdefault(bucket, {})[key] = written

    def remove(self, bucket: str, key: str) -> None:
        """Delete an object, if it is there."""
        self._objects.get(bucket, {}).pop(key, None)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Return the keys of a bucket that begin with a prefix, sorted."""
        return sorted(key for key in self._objects.get(bucket, {}) if key.startswith(prefix))
