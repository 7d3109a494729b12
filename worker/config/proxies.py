"""The way out through HTTP proxies, as HTTPS_PROXY, HTTP_PROXY and NO_PROXY name it, in either case."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from urllib.parse import quote, unquote, urlsplit

from worker.config import addresses

SHAPE = "`http://[user:password@]host[:port]`"
# Alibaba Cloud's metadata service: whoever answers for it hands out the machine's credentials.
METADATA = "100.100.100.200"


@dataclass(frozen=True, slots=True)
class Proxy:
    """One HTTP proxy, named by the variable `name`; `str` is `host:port`.

    User and password are in `authorization` only, which no repr shows.
    """

    host: str
    port: int
    authorization: str = field(default="", repr=False)
    name: str = "HTTPS_PROXY"

    @classmethod
    def parse(cls, text: str, name: str = "HTTPS_PROXY") -> Proxy:
        """Read the value of `name`. Raises ValueError: its text goes on from the name, without the value."""
        parts = addresses.parsed(text, "http")
        if parts.scheme != "http":
            raise ValueError(
                "names a proxy that is not plain http itself, which the relay does not speak"
            )
        addresses.require_end_at_host(parts)
        host = addresses.host(parts.hostname or "")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        return cls(
            host,
            parts.port or addresses.DEFAULT_PORTS["http"],
            f"Basic {pair}" if "@" in parts.netloc else "",
            name,
        )

    @property
    def url(self) -> str:
        """The proxy's URL without user and password."""
        return f"http://{self}"

    @property
    def secret_url(self) -> str:
        """The proxy's URL with user and password, for libraries that take it in no other form."""
        if not self.authorization:
            return self.url
        user, _, password = base64.b64decode(self.authorization.split()[1]).decode().partition(":")
        return f"http://{quote(user, safe='')}:{quote(password, safe='')}@{self}"

    @property
    def headers(self) -> dict[str, str]:
        """What the proxy, and nobody else, has to be told."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}

    def headers_of_request(self, url: str) -> dict[str, str]:
        """What a request itself says to the proxy: within a tunnel nothing, for the service would read it."""
        return self.headers if url.startswith("http://") else {}

    def __str__(self) -> str:
        return f"{addresses.in_url(self.host)}:{self.port}"


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxy a call goes by. Loopback and the metadata service are always called directly."""

    https: Proxy | None = None
    http: Proxy | None = None
    exceptions: tuple[str, ...] = ()

    @property
    def are_none(self) -> bool:
        """Whether no proxy is set at all."""
        return self.https is None and self.http is None

    def of(self, url: str) -> Proxy | None:
        """Return the proxy for this URL; None: call it directly."""
        if self.are_none:
            return None
        parts = urlsplit(url)
        host = parts.hostname or ""
        proxy = self.http if parts.scheme == "http" else self.https
        port = parts.port or addresses.DEFAULT_PORTS.get(parts.scheme, 0)
        return None if _is_direct(self.exceptions, host, port) else proxy


DIRECT = Proxies()


def find_proxies(*layers: Mapping[str, str]) -> tuple[Proxies, dict[str, str]]:
    """Find the proxies that are set, and the problem of each name that can't be used.

    The first layer that has a name decides, in it the lower case; empty counts as not set.
    """
    problems: dict[str, str] = {}

    def proxy(variable: str) -> Proxy | None:
        name, text = _first(variable, layers)
        try:
            return Proxy.parse(text, name) if text else None
        except ValueError as error:
            problems[name] = f"{error}; accepted: {SHAPE}"
            return None

    exceptions = _first("no_proxy", layers)[1].replace(",", " ").lower().split()
    return Proxies(proxy("https_proxy"), proxy("http_proxy"), tuple(exceptions)), problems


def _first(variable: str, layers: tuple[Mapping[str, str], ...]) -> tuple[str, str]:
    for layer in layers:
        for name in (variable, variable.upper()):
            if text := layer.get(name, "").strip():
                return name, text
    return variable.upper(), ""


@lru_cache(maxsize=256)
def _is_direct(exceptions: tuple[str, ...], host: str, port: int) -> bool:
    return _is_never_proxied(host) or any(_excepts(each, host, port) for each in exceptions)


def _is_never_proxied(host: str) -> bool:
    try:
        return addresses.is_loopback(host) or host == METADATA or ip_address(host).is_link_local
    except ValueError:
        return False


def _excepts(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY covers a host: `*`, a name and all below it, an address, a network."""
    if entry == "*":
        return True
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    name, colon, only_port = entry.rpartition(":")
    if colon and only_port.isdigit():
        return int(only_port) == port and _excepts(name, host, port)
    domain = entry.removeprefix("*").removeprefix(".")
    return bool(domain) and f".{host.lower()}".endswith(f".{domain}")
