"""What an operation is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from localcloud.identity import Identity
from localcloud.obs.behaviour import ObsBehaviour
from localcloud.obs.errors import access_denied, no_such_bucket, no_such_key
from localcloud.obs.request import Request
from localcloud.storage.bucket import Bucket
from localcloud.storage.stored import StoredObject

LIST = "obs:bucket:ListBucket"


@dataclass(frozen=True, slots=True)
class Turn:
    """One verified call and the world it acts on. `is_struck` asks for a custom fault by its name."""

    request: Request
    identity: Identity
    buckets: dict[str, Bucket]
    behaviour: ObsBehaviour
    now: float
    fresh_id: str
    is_struck: Callable[[str], bool]

    @property
    def key(self) -> str:
        """The key the call names."""
        return self.request.key

    @property
    def bucket(self) -> Bucket:
        """The bucket the call names, or the refusal that there is none."""
        found = self.buckets.get(self.request.bucket)
        if found is None:
            raise no_such_bucket(self.request.bucket)
        return found

    def stored(self) -> StoredObject:
        """Return the object the call names, or the refusal that there is none."""
        found = self.bucket.get(self.key)
        if found is None:
            if self.behaviour.hides_missing and not self.identity.may(LIST):
                raise access_denied()
            raise no_such_key(self.key)
        return found

    def header(self, name: str) -> str:
        """Return a request header, or the empty text."""
        return self.request.headers.get(name, "")

    def require(self, action: str) -> None:
        """Refuse the call unless the policy of its key allows the action."""
        if not self.identity.may(action):
            raise access_denied()
