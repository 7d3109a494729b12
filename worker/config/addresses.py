"""Web addresses as people write them in settings: checked, and brought into one normal form.

Every refusal is a ValueError whose text goes on from the setting's name ("... is not a URL") and
repeats nothing of the address, which may hold a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

SYNC_URL_SHAPE = (
    "https://oms.<region>.myhuaweicloud.com/v2/<project id>/sync-tasks/<task id>/events"
)
LABEL_CHARS_MAX = 63
HOST_CHARS_MAX = 253

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]{2,45}")
_SYNC_PATH = re.compile(r"/v2/([\w-]{1,1024})/sync-tasks/([\w-]{1,255})/events/*", re.ASCII)
_OMS_HOST = re.compile(r"oms\.([a-z0-9-]+)\.myhuaweicloud\.(?:com|cn|eu)(?::\d+)?")
# With dual stack the region stands before `.oss`; the `-pub` of finance clouds is no part of the region.
_OSS_HOST = re.compile(
    r"(?:(?:s3\.)?oss-(?!accelerate)(?P<name>[a-z0-9]+(?:-[a-z0-9]+)+?)(?:-pub)?(?:-internal)?"
    r"|(?P<dual>[a-z0-9]+(?:-[a-z0-9]+)+)\.oss)\.aliyuncs\.com"
)
_BUCKET_HOST = re.compile(
    r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\."
    r"(?:(?:s3\.)?oss-[a-z0-9-]+|[a-z0-9]+(?:-[a-z0-9]+)+\.oss)\.aliyuncs\.com"
)
# Names in hosts that are no region ids (OSS documentation, "Regions and endpoints", finance cloud).
_OSS_REGIONS = {
    "cn-hzfinance": "cn-hangzhou-finance",
    "cn-hzjbp": "cn-hangzhou-finance",
    "cn-hzjbp-a": "cn-hangzhou-finance",
    "cn-hzjbp-b": "cn-hangzhou-finance",
    "cn-szfinance": "cn-shenzhen-finance-1",
    "cn-shanghai-finance": "cn-shanghai-finance-1",
    "cn-shenzhen-finance": "cn-shenzhen-finance-1",
}
# MNS, now SMQ: the account is the first label, or is left out; the region stands behind `mns` or before.
_REGION = r"([a-z]+(?:-[a-z0-9]+?)+?)(?:-internal|-vpc|-control)*"
_MNS_HOST = re.compile(
    rf"(?:(?:[^.]+\.)?mns\.{_REGION}|{_REGION}\.mns)\.aliyuncs\.com",
)
_OBS_BUCKET_HOST = re.compile(r".+\.obs\.[a-z0-9-]+\.myhuaweicloud\.(?:com|cn|eu)")
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class SyncTask:
    """The OMS task that a request URL names; `region` is empty where the host does not tell it."""

    url: str
    endpoint: str
    region: str
    project_id: str
    task_id: str

    @classmethod
    def parse(cls, text: str) -> SyncTask:
        """Read the request URL as the OMS console shows it, or raise ValueError."""
        parts = _split(text.strip())
        path = _SYNC_PATH.fullmatch(parts.path)
        if path is None:
            raise ValueError("is not the request URL of a synchronization task")
        endpoint, (project_id, task_id) = f"{parts.scheme}://{parts.netloc}", path.groups()
        host = _OMS_HOST.fullmatch(parts.netloc)
        url = f"{endpoint}/v2/{project_id}/sync-tasks/{task_id}/events"
        return cls(url, endpoint, host[1] if host else "", project_id, task_id)


def endpoint(text: str) -> str:
    """Answer `scheme://host[:port]`, https unless given; http is refused beyond loopback."""
    return _origin(_split(text))


def oss_endpoint(text: str) -> str:
    """Answer like `endpoint`; a host that begins with a bucket is refused."""
    origin = endpoint(text)
    if _BUCKET_HOST.fullmatch(urlsplit(origin).hostname or ""):
        raise ValueError(
            "begins with a bucket: leave out all before the endpoint proper, the relay adds the bucket itself"
        )
    return origin


def obs_endpoint(text: str) -> str:
    """Answer like `endpoint`; a host that begins with a bucket is refused."""
    origin = endpoint(text)
    if _OBS_BUCKET_HOST.fullmatch(urlsplit(origin).hostname or ""):
        raise ValueError(
            "begins with a bucket: leave out all before obs., the relay adds the bucket itself"
        )
    return origin


def plain_endpoint(text: str) -> str:
    """Answer like `endpoint`, with http allowed: MNS classic internal hosts have no other form."""
    return _origin(_split(text, is_http_allowed=True))


def oss_region(oss_endpoint: str) -> str:
    """Answer the region id, as signatures need it, that an OSS endpoint names, or the empty string."""
    match = _OSS_HOST.fullmatch(urlsplit(oss_endpoint).hostname or "")
    name = match["name"] or match["dual"] if match else ""
    return _OSS_REGIONS.get(name, name)


def host(text: str) -> str:
    """Answer a host name or an IP address as it is."""
    if not _HOST.fullmatch(text):
        raise ValueError("is no host")
    if len(text) > HOST_CHARS_MAX or not all(
        0 < len(label) <= LABEL_CHARS_MAX for label in text.split(".")
    ):
        raise ValueError(
            f"has a host that no name service takes: the parts between dots have 1..{LABEL_CHARS_MAX} "
            f"characters, all together at most {HOST_CHARS_MAX}"
        )
    return text


@lru_cache(maxsize=64)
def bucket_origin(endpoint: str, bucket: str) -> str:
    """Answer where calls for the bucket go: it stands in the host, but not before an IP or localhost."""
    parts = urlsplit(endpoint)
    is_in_path = parts.hostname == "localhost" or _ip(parts.hostname or "") is not None
    return endpoint if is_in_path else f"{parts.scheme}://{bucket}.{parts.netloc}"


def mns_region(mns_endpoint: str) -> str:
    """Answer the region id that an MNS (SMQ) endpoint names, or the empty string."""
    match = _MNS_HOST.fullmatch(urlsplit(mns_endpoint).hostname or "")
    return (match[1] or match[2]) if match else ""


def is_loopback(host: str) -> bool:
    """Whether traffic to the host stays on this machine."""
    address = _ip(host)
    return address.is_loopback if address else f".{host.lower()}".endswith(".localhost")


def is_public(host: str) -> bool:
    """Whether a listener on the host may be reached from other networks.

    Private and unspecified addresses are not counted: they are what the probes of a pod need.
    """
    address = _ip(host)
    return not (address.is_private if address else is_loopback(host))


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def parsed(text: str, scheme: str) -> SplitResult:
    """Take a URL apart, with this scheme unless it has one; host and port can be read then."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("holds blanks or characters that a URL can't")
    try:
        parts = urlsplit(text if "://" in text else f"{scheme}://{text}")
        _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL") from None
    return parts


def require_end_at_host(parts: SplitResult) -> None:
    """Refuse a URL that goes on after host and port."""
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("goes on after the host")


def in_url(host: str) -> str:
    """Answer a host as it stands in a URL: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _origin(parts: SplitResult) -> str:
    require_end_at_host(parts)
    return f"{parts.scheme}://{parts.netloc}"


def _split(text: str, *, is_http_allowed: bool = False) -> SplitResult:
    parts = parsed(text, "https")
    name, port = parts.hostname or "", parts.port
    if "@" in parts.netloc:
        raise ValueError("carries user information; credentials have settings of their own")
    if parts.scheme not in DEFAULT_PORTS or not _HOST.fullmatch(name):
        raise ValueError("is not an https address")
    host(name)
    if parts.scheme == "http" and not is_http_allowed and not is_loopback(name):
        raise ValueError("is plain http, which is refused beyond loopback")
    shown = in_url(name)
    is_default = port in {None, DEFAULT_PORTS[parts.scheme]}
    return parts._replace(netloc=shown if is_default else f"{shown}:{port}")
