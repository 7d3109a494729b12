"""What aliyun-mns-sdk does for the MNS client: it writes and signs the headers, and reads errors.

It is loaded with the first call: most commands make none, and none has to wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from worker.clouds.credentials import AlibabaCredentials
from worker.clouds.http import Answer, one_line


class MnsSdk:
    """The SDK's client for one endpoint; nothing is ever sent by it."""

    def __init__(self, endpoint: str, credentials: Callable[[], AlibabaCredentials]) -> None:
        self._endpoint = endpoint
        self._credentials = credentials

    def headers(self, method: str, target: str, body: bytes) -> dict[str, str]:
        """Return the complete headers of a request, signed at this moment with the current credentials."""
        request = self._sdk.RequestInternal(method, target, data=body or "")
        self._client.build_header(self._sdk.RequestBase(), request)
        signed: dict[str, str] = request.header
        return signed

    def error(self, answer: Answer) -> tuple[str, str, str]:
        """Return code, message and request id; the code is empty when the body is not MNS's."""
        sdk = self._sdk
        response = sdk.ResponseBase()
        response.header = {"x-mns-request-id": answer.headers.get("x-mns-request-id", "")}
        text = answer.body.decode("utf-8", "replace")
        refused = sdk.ResponseInternal(answer.status, response.header, text)
        try:
            self._client.check_status(sdk.RequestInternal(), refused, response)
        except sdk.MNSServerException as error:
            return (
                str(error.type),
                one_line(str(error.message)),
                one_line(str(error.request_id or "")),
            )
        # The SDK stumbles with an AttributeError over an element where it expects text.
        except (sdk.MNSClientException, AttributeError):
            pass
        return "", answer.excerpt(), one_line(response.header["x-mns-request-id"])

    @cached_property
    def _sdk(self) -> Any:
        """The SDK's module that holds all its names."""
        from mns import mns_client  # noqa: PLC0415

        return mns_client

    @cached_property
    def _client(self) -> Any:
        return self._sdk.MNSClient(
            self._endpoint, credentials_provider=_Provider(self._credentials)
        )


class _Provider:
    """Hands the current snapshot to the SDK's signer; the SDK wants "" for "no token"."""

    def __init__(self, current: Callable[[], AlibabaCredentials]) -> None:
        self.get_credentials = current
