"""Credentials as immutable snapshots: signers read one, a single refresher replaces it.

Alibaba keys come from the settings, or from the default chain of alibabacloud-credentials (ECS RAM role,
RRSA over OIDC). That library refreshes under a thread lock, which would stall the event loop for seconds:
it is called from one thread at a time, never from a coroutine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from alibabacloud_credentials.client import Client as ChainClient
from alibabacloud_credentials.exceptions import CredentialException

from worker.clock import Clock
from worker.errors import Fatal

REFRESH_SECONDS = 60.0
FETCH_SECONDS_MAX = 30.0


@dataclass(frozen=True, slots=True)
class AlibabaCredentials:
    """One access key of Alibaba Cloud; the getters are the protocol that oss2 and aliyun-mns-sdk sign by."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    security_token: str = field(default="", repr=False)

    def get_access_key_id(self) -> str:
        """Return the access key id."""
        return self.access_key_id

    def get_access_key_secret(self) -> str:
        """Return the secret."""
        return self.access_key_secret

    def get_security_token(self) -> str:
        """Return the token of temporary credentials, or the empty string."""
        return self.security_token


def fetch_from_chain() -> AlibabaCredentials:
    """Return what the default chain gives now. Blocks; the library caches until shortly before expiry."""
    found = ChainClient().get_credential()
    return AlibabaCredentials(
        found.access_key_id, found.access_key_secret, found.security_token or ""
    )


class Credentials:
    """The current snapshot, and where a fresh one comes from (`fetch` blocks and runs in a thread)."""

    def __init__(
        self,
        current: AlibabaCredentials | None,
        fetch: Callable[[], AlibabaCredentials],
        clock: Clock,
    ) -> None:
        self._current = current
        self._fetch = fetch
        self._clock = clock

    def current(self) -> AlibabaCredentials:
        """Return the snapshot to sign with. Raises `Fatal` before the first one was fetched."""
        if self._current is None:
            raise Fatal("there are no Alibaba credentials yet; nothing was sent")
        return self._current

    async def refresh(self) -> None:
        """Fetch once and swap the snapshot. Raises `Fatal` if there is none to fall back on."""
        try:
            async with asyncio.timeout(FETCH_SECONDS_MAX):
                self._current = await asyncio.to_thread(self._fetch)
        except (CredentialException, OSError, ValueError, TimeoutError) as error:
            if self._current is None:
                raise Fatal(_no_credentials(error)) from error

    async def keep_fresh(self) -> None:
        """Refresh every minute until cancelled; a failed refresh keeps the old snapshot."""
        while True:
            await self._clock.sleep(REFRESH_SECONDS)
            await self.refresh()


def _no_credentials(error: Exception) -> str:
    return (
        f"no Alibaba credentials were found ({type(error).__name__}: {error}). Nothing was received or sent. "
        "Set ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET (or their *_FILE forms), "
        "or give the machine an ECS RAM role or the pod an RRSA service account."
    )
