"""What an operation is given and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass

from localcloud.identity import Identity
from localcloud.oss.errors import access_denied, no_such_bucket, no_such_key
from localcloud.oss.request import Request
from localcloud.service import Reply
from localcloud.storage.bucket import Bucket
from localcloud.storage.stored import StoredObject


@dataclass(frozen=True, slots=True)
class Change:
    """What an operation did to one object, as an event tells it. `name` is the event's own name."""

    name: str
    key: str
    size: int = 0
    etag: str = ""
    delta_bytes: int = 0
    mime_type: str = ""
    position: int | None = None
    read: tuple[int, int] | None = None

    @classmethod
    def of(cls, name: str, stored: StoredObject, replaced: StoredObject | None = None) -> Change:
        """Describe an object as it stands after the change, and what it took the place of."""
        delta = stored.size - (replaced.size if replaced is not None else 0)
        mime = stored.described.content_type
        return cls(name, stored.key, stored.size, stored.etag, delta, mime)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to a call and the changes to announce."""

    reply: Reply
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """One verified call and the world it acts on."""

    request: Request
    identity: Identity
    buckets: dict[str, Bucket]
    now: float
    fresh_id: str

    @property
    def key(self) -> str:
        """The key the call names."""
        return self.request.key

    @property
    def bucket(self) -> Bucket:
        """The bucket the call names, or the refusal that there is none."""
        return self.bucket_named(self.request.bucket)

    def bucket_named(self, name: str) -> Bucket:
        """Return a bucket, or the refusal that there is none."""
        found = self.buckets.get(name)
        if found is None:
            raise no_such_bucket(name)
        return found

    def stored(self) -> StoredObject:
        """Return the object the call names, or the refusal that there is none."""
        found = self.bucket.get(self.key)
        if found is None:
            raise no_such_key(self.key)
        return found

    def header(self, name: str) -> str:
        """Return a request header, or the empty text."""
        return self.request.headers.get(name, "")

    def require(self, action: str) -> None:
        """Refuse the call unless the policy of its key allows the action."""
        if not self.identity.may(action):
            raise access_denied("You have no right to access this object.")
