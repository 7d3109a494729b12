"""Who may sign: access keys, secrets, security tokens, and what each key is allowed to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(slots=True)
class Identity:
    """One access key; without a `security_token` it is long-lived.

    `allowed` and `denied` hold patterns; as in both vendors' policies, a denial outweighs.
    """

    access_key: str
    secret: str
    security_token: str = ""
    allowed: tuple[str, ...] = ("*",)
    denied: tuple[str, ...] = ()

    def may(self, action: str) -> bool:
        """Whether the policy of this key allows an action such as `mns:ReceiveMessage`."""
        return _is_among(action, self.allowed) and not self.is_denied(action)

    def is_denied(self, action: str) -> bool:
        """Whether the policy denies an action, whatever else it allows."""
        return _is_among(action, self.denied)


ALIBABA = Identity("LTAIlocalcloud0001", "local-alibaba-secret")
HUAWEI = Identity("LOCALCLOUDHUAWEIAK01", "local-huawei-secret")


class Identities:
    """The access keys one vendor knows."""

    def __init__(self, *known: Identity) -> None:
        self._known = {identity.access_key: identity for identity in known}

    def add(self, identity: Identity) -> None:
        """Make a key known, or replace it."""
        self._known[identity.access_key] = identity

    def remove(self, access_key: str) -> None:
        """Forget a key, as when an operator disables it."""
        self._known.pop(access_key, None)

    def get(self, access_key: str) -> Identity | None:
        """Return the identity behind a key, or None."""
        return self._known.get(access_key)

    def __iter__(self) -> Iterator[Identity]:
        return iter(tuple(self._known.values()))


def _is_among(action: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
