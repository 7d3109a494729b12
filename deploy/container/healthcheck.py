"""Ask the relay in this container whether it is alive: exit code 0 if so, 1 if not. Needs no curl."""

from __future__ import annotations

import http.client
import os
import sys

SECONDS_MAX = 4.0
EVERYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104  compared with, not listened on


def main() -> int:
    """Return the exit code; with the admin server turned off there is nobody to ask, which is no fault."""
    port = int(os.environ.get("RELAY_ADMIN_PORT") or 8080)
    if not port:
        return 0
    host = os.environ.get("RELAY_ADMIN_HOST", "")
    connection = http.client.HTTPConnection(
        "127.0.0.1" if host in EVERYWHERE else host, port, timeout=SECONDS_MAX
    )
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        print(answer.read(1000).decode("utf-8", "replace"))  # noqa: T201  shown by `docker inspect`
    except OSError as error:
        print(f"no answer: {error}")  # noqa: T201
        return 1
    finally:
        connection.close()
    return 0 if answer.status == http.client.OK else 1


if __name__ == "__main__":
    sys.exit(main())
