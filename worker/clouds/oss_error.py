"""What oss2 does for the OSS client: it reads errors, from the body or from the header of a HEAD.

It is loaded with the first error: it brings some 500 modules, and a relay in good order needs none of them.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

from worker.clouds.http import Answer, one_line


class OssError(NamedTuple):
    """What OSS says about a refused call; all of it is empty where the answer is not OSS's."""

    code: str
    message: str
    request_id: str


def read_error(answer: Answer) -> OssError:
    """Read the answer to a refused call; never raises, whatever the body is."""
    from oss2.exceptions import make_exception  # noqa: PLC0415

    try:
        error = make_exception(_Readable(answer))
    except (ValueError, LookupError):
        # How unknown encodings and those of many bytes come, which oss2 does not expect.
        return OssError("", "", one_line(answer.headers.get("x-oss-request-id", "")))
    return OssError(
        str(error.code or ""),
        one_line(str(error.message or "")),
        one_line(str(error.request_id or "")),
    )


class _Readable:
    """An answer in the shape that `oss2.exceptions.make_exception` reads."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers: Any = answer.headers
        self._body = io.BytesIO(answer.body)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes of the body."""
        return self._body.read(size)
