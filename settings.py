"""Settings of the relay: one frozen object, read once at start; importing this reads nothing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.config import addresses
from worker.config.addresses import SyncTask
from worker.config.environment import (
    DotEnv,
    Layer,
    find_all,
    misspelt,
    read_dotenv,
    unknown,
)
from worker.config.proxies import DIRECT, Proxies, find_proxies
from worker.config.routes_file import UNROUTED, RouteEntry, RoutesFile, read_routes
from worker.errors import Fatal

__all__ = ["Settings", "SettingsError", "SyncTask", "load_settings", "settings_table"]

_BATCH_KEYS_DOCUMENTED = 10
_SHOWN_CHARS_MAX = 80
_QUEUE_SHAPE = "1..120 letters, digits and hyphens, a letter or digit first"
_CREDENTIAL_SHAPE = "printable ASCII without blanks"
_TOKEN_CHARS_MIN = 16
# As READMEs, templates and the clouds' own examples write it; also a variable that nothing expanded.
_PLACEHOLDER = re.compile(
    r"""<.*> | \{\{.*\}\} | \$\{?\w+\}? | %\w+% | [.*x_-]+ | \[.*\]
      | (?:change|replace|fill) [-_]? (?:me|this|it|in) | to-?do | tbd | none | null | undefined
      | (?:my|your|the) [-_]? (?:alibaba|aliyun|huawei|hw)? [-_]?
        (?:access[-_]?key|secret|security|token|ak|sk|key|password) [a-z_-]*
      | (?:hw|alibaba_cloud|huaweicloud_sdk|relay) _ (?:[a-z]+_)* (?:ak|sk|id|secret|token)
      | (?:place-?holder|example|redacted|masked)""",
    re.IGNORECASE | re.VERBOSE,
)


# Keys of both clouds are runs of letters of both cases with digits; names and addresses are not.
_LIKE_A_SECRET = re.compile(
    r"(?=[A-Za-z0-9+/=_-]*[a-z])(?=[A-Za-z0-9+/=_-]*[A-Z])(?=[A-Za-z0-9+/=_-]*\d)[A-Za-z0-9+/=_-]{16,}"
    r"|LTAI|(?=[A-Z]*\d)[A-Z0-9]{16,}|(?=[a-f]*\d)[0-9a-f]{32,}"
)


class SettingsError(Fatal):
    """The settings can't be used; `problems` has a sentence for each name and holds no secret."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        super().__init__(
            f"Nothing was started: {len(problems)} setting(s) to mend"
            f" (docs/settings.md describes each).\n{lines}"
        )
        self.problems = problems


def _matching(pattern: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError("has another form")
        return text

    return AfterValidator(check)


def _credential(value: SecretStr) -> SecretStr:
    # What is wrong with a key shows up much later, as a wrong signature that may lock the key.
    secret = value.get_secret_value()
    if not re.fullmatch(r"[!-~]{1,16384}", secret):
        raise ValueError("holds blanks or characters that a credential can't")
    if secret[0] in "\"'`" or secret[-1] in "\"'`":
        raise ValueError("begins or ends with a quote: leave the quotes out")
    if _PLACEHOLDER.fullmatch(secret):
        raise ValueError("is a placeholder: put the real value in its place")
    return value


def _token(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < _TOKEN_CHARS_MIN:
        raise ValueError(f"is shorter than {_TOKEN_CHARS_MIN} characters, which can be guessed")
    return value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _setting(
    name: str, accepted: str, default: Any = ..., *, shown_default: str = "", **limits: Any
) -> Any:
    extra: dict[str, Any] = {"accepted": accepted, "default": shown_default}
    return Field(default, alias=name, json_schema_extra=extra, **limits)


_Bucket: TypeAlias = Annotated[str, _matching(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")]
_Encoding: TypeAlias = Annotated[Literal["raw", "url", "auto"], BeforeValidator(_lower)]
_Files: TypeAlias = Annotated[Mapping[str, Path], AfterValidator(MappingProxyType)]
_Format: TypeAlias = Annotated[Literal["auto", "console", "json"], BeforeValidator(_lower)]
_Deletions: TypeAlias = Annotated[Literal["ignore", "propagate"], BeforeValidator(_lower)]
_ObsBucket: TypeAlias = Annotated[str, _matching(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")]
_ObsEndpoint: TypeAlias = Annotated[str, AfterValidator(addresses.obs_endpoint)]
_Host: TypeAlias = Annotated[str, AfterValidator(addresses.host)]
_Layout: TypeAlias = Annotated[Literal["object", "log"], BeforeValidator(_lower)]
_Level: TypeAlias = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)]
_MnsEndpoint: TypeAlias = Annotated[str, AfterValidator(addresses.plain_endpoint)]
_OssEndpoint: TypeAlias = Annotated[str, AfterValidator(addresses.oss_endpoint)]
_Queue: TypeAlias = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9-]{0,119}")]
_Region: TypeAlias = Annotated[str, _matching(r"(?:[a-z0-9]+(?:-[a-z0-9]+)+)?")]
_Secret: TypeAlias = Annotated[SecretStr, AfterValidator(_credential)]
_Token: TypeAlias = Annotated[SecretStr, AfterValidator(_credential), AfterValidator(_token)]
_SyncUrl: TypeAlias = Annotated[str, AfterValidator(lambda text: SyncTask.parse(text).url)]


class Settings(BaseSettings):
    """Every setting of the relay, frozen; `repr` shows no secret. Made by `load_settings`."""

    model_config = SettingsConfigDict(
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
        str_strip_whitespace=True,
        use_attribute_docstrings=True,
    )

    mns_endpoint: _MnsEndpoint = _setting(
        "MNS_ENDPOINT",
        "`https://<account>.mns.<region>.aliyuncs.com` or `https://<region>.mns.aliyuncs.com`; "
        "http works, with a warning",
    )
    """MNS (SMQ) endpoint of the account."""
    mns_queue: _Queue = _setting("MNS_QUEUE", _QUEUE_SHAPE)
    """Queue that the OSS event rule feeds."""
    mns_dead_letter_queue: _Queue | None = _setting("MNS_DEAD_LETTER_QUEUE", _QUEUE_SHAPE, None)
    """Target of the queue's own dead-letter policy; the relay drains it into its own store."""
    oss_endpoint: _OssEndpoint = _setting(
        "OSS_ENDPOINT", "`https://oss-<region>[-internal].aliyuncs.com`; http on loopback only"
    )
    """OSS endpoint of the log bucket, without the bucket's name."""
    oss_region: _Region = _setting(
        "OSS_REGION", "a region id such as `cn-hangzhou`", "", validate_default=True
    )
    """Region of the log bucket; needed where `OSS_ENDPOINT` does not name it."""
    log_bucket: _Bucket = _setting("LOG_BUCKET", "3..63 lower-case letters, digits, inner hyphens")
    """Bucket for records and dead letters; never a source bucket."""
    access_key_id: _Secret | None = _setting("ALIBABA_CLOUD_ACCESS_KEY_ID", _CREDENTIAL_SHAPE, None)
    """Alibaba access key; without one the credential chain is asked (RRSA or ECS RAM role)."""
    access_key_secret: _Secret | None = _setting(
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET", _CREDENTIAL_SHAPE, None, validate_default=True
    )
    """Secret of the Alibaba access key; both or none."""
    security_token: _Secret | None = _setting(
        "ALIBABA_CLOUD_SECURITY_TOKEN", _CREDENTIAL_SHAPE, None
    )
    """Token of a temporary Alibaba access key."""
    routes_file: Path | None = _setting(
        "RELAY_ROUTES", "path of a TOML file (docs/routes.md)", None
    )
    """File that names several buckets with a sync task for each; none: one task, that of `SYNC_URL`."""
    sync_url: _SyncUrl | None = _setting(
        "SYNC_URL",
        f"`{addresses.SYNC_URL_SHAPE}`; http on loopback only",
        None,
        validate_default=True,
        shown_default="required without `RELAY_ROUTES`",
    )
    """Request URL of the OMS synchronization task, as the OMS console shows it."""
    hw_ak: _Secret | None = _setting(
        "HW_AK",
        _CREDENTIAL_SHAPE,
        None,
        validate_default=True,
        shown_default="required, unless each route has its own",
    )
    """Huawei access key, of low privilege; also read as `HUAWEICLOUD_SDK_AK`."""
    hw_sk: _Secret | None = _setting(
        "HW_SK",
        _CREDENTIAL_SHAPE,
        None,
        validate_default=True,
        shown_default="required, unless each route has its own",
    )
    """Huawei secret key; also read as `HUAWEICLOUD_SDK_SK`."""
    hw_security_token: _Secret | None = _setting("HW_SECURITY_TOKEN", _CREDENTIAL_SHAPE, None)
    """Token of a temporary Huawei key; also read as `HUAWEICLOUD_SDK_SECURITY_TOKEN`."""
    obs_endpoint: _ObsEndpoint | None = _setting(
        "OBS_ENDPOINT", "`https://obs.<region>.myhuaweicloud.com`; http on loopback only", None
    )
    """OBS endpoint of the destination, without the bucket's name: set, it turns arrival on."""
    obs_bucket: _ObsBucket | None = _setting(
        "OBS_BUCKET", "3..63 lower-case letters, digits, inner hyphens and dots", None
    )
    """Destination bucket; none: the one that the sync task names."""
    obs_ak: _Secret | None = _setting("OBS_AK", _CREDENTIAL_SHAPE, None)
    """Huawei access key that may only read and list the destination; none: the one of `HW_AK`."""
    obs_sk: _Secret | None = _setting("OBS_SK", _CREDENTIAL_SHAPE, None, validate_default=True)
    """Secret of `OBS_AK`; both or none."""
    obs_security_token: _Secret | None = _setting("OBS_SECURITY_TOKEN", _CREDENTIAL_SHAPE, None)
    """Token of a temporary `OBS_AK`."""
    arrival_ratio: float = _setting(
        "RELAY_ARRIVAL_RATIO", "0..1", 0.01, ge=0, le=1, allow_inf_nan=False
    )
    """Share of accepted keys that a running relay follows to the destination; 1 follows each."""
    arrival_seconds: float = _setting(
        "RELAY_ARRIVAL_SECONDS", "1..86400 seconds", 900.0, ge=1, le=86_400
    )
    """What has not arrived by then is late: it is looked into and announced again."""
    deletions: _Deletions = _setting("RELAY_DELETIONS", "`ignore` or `propagate`", "ignore")
    """`propagate`: what is deleted in the source is deleted at the destination; needs `OBS_ENDPOINT`."""
    deletions_per_hour: int = _setting(
        "RELAY_DELETIONS_PER_HOUR", "1..4000 deletions", 1000, ge=1, le=4000
    )
    """Of all relays of a task, in any hour; one more, and nothing is deleted until the brake is lifted."""
    batch_keys: int = _setting("RELAY_BATCH_KEYS", "1..100 keys", 10, ge=1, le=100)
    """Keys per post to OMS; 10 is the documented maximum, more brings a warning."""
    linger_ms: int = _setting("RELAY_LINGER_MS", "0..10000 milliseconds", 20, ge=0, le=10_000)
    """Longest wait to fill a batch."""
    pollers: int = _setting("RELAY_POLLERS", "1..64", 4, ge=1, le=64)
    """Concurrent long polls in one process."""
    max_in_flight: int = _setting("RELAY_MAX_IN_FLIGHT", "16..4000 messages", 4000, ge=16, le=4000)
    """Ceiling of messages in hand in one process; its share of what MNS allows is found below it."""
    record_layout: _Layout = _setting("RELAY_RECORD_LAYOUT", "`object` or `log`", "object")
    """`object`: one record object per key; `log`: many outcomes per JSON-lines object."""
    request_timeout_seconds: float = _setting(
        "RELAY_REQUEST_TIMEOUT_SECONDS", "1..300 seconds", 30.0, ge=1, le=300
    )
    """Total time of one call to OMS or OSS."""
    oms_max_rps: float | None = _setting(
        "RELAY_OMS_MAX_RPS", "0.01..10000 requests per second", None, ge=0.01, le=10_000
    )
    """Fixed ceiling of posts to OMS beside the adaptive limit."""
    max_deliveries: int = _setting("RELAY_MAX_DELIVERIES", "2 deliveries or more", 20, ge=2)
    """Deliveries after which a message that never completes becomes a dead letter."""
    key_encoding: _Encoding = _setting("RELAY_KEY_ENCODING", "`raw`, `url` or `auto`", "auto")
    """How keys stand in the events; `auto` looks an ambiguous one up in its source bucket."""
    admin_host: _Host = _setting("RELAY_ADMIN_HOST", "an IP address or a host name", "127.0.0.1")
    """Where `/healthz`, `/readyz` and `/metrics` listen; `0.0.0.0` for probes of a pod."""
    admin_port: int = _setting("RELAY_ADMIN_PORT", "0..65535", 8080, ge=0, le=65_535)
    """Port of the admin server; 0 turns it off."""
    # A setting and no option: a secret has no place among process arguments, and *_FILE comes for free.
    console_token: _Token | None = _setting(
        "RELAY_CONSOLE_TOKEN", f"{_TOKEN_CHARS_MIN} characters or more of {_CREDENTIAL_SHAPE}", None
    )
    """Token that `console` asks for; without one it makes one for each run, and serves loopback only."""
    shutdown_grace_seconds: float = _setting(
        "RELAY_SHUTDOWN_GRACE_SECONDS", "1..3600 seconds", 45.0, ge=1, le=3600
    )
    """Time after SIGTERM to finish what is in hand."""
    log_format: _Format = _setting("RELAY_LOG_FORMAT", "`auto`, `console` or `json`", "auto")
    """`auto`: console on a terminal, else JSON."""
    log_level: _Level = _setting("RELAY_LOG_LEVEL", "`debug`, `info`, `warning` or `error`", "info")
    """Least level that is logged."""
    secret_files: _Files = Field(default={}, validate_default=True, exclude=True)
    """The file behind each name that came through `NAME_FILE`, for a later reload."""

    proxies: Proxies = Field(default=DIRECT, exclude=True)
    """By which proxies calls go: HTTPS_PROXY, HTTP_PROXY and NO_PROXY."""

    routes: tuple[Settings, ...] = Field(default=(), exclude=True)
    """The settings of each route that the file names: these, with its own in their place. Else empty."""
    route: str = Field(default="", exclude=True)
    """The route that these settings are of; empty: the only one there is, or none in particular."""
    bucket: str = Field(default="", exclude=True)
    """The bucket of the route; empty: the one that the sync task names."""
    prefix: str = Field(default="", exclude=True)
    """How the keys of the route begin."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  part of the inherited signature
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load_settings` gathered and nothing behind its back."""
        return (init_settings,)

    @field_validator("sync_url", "hw_ak", "hw_sk")
    @classmethod
    def _is_set(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.data.get("routes_file", "") is None:
            raise ValueError("is not set")
        return value

    @field_validator("mns_dead_letter_queue")
    @classmethod
    def _is_another_queue(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and value == info.data.get("mns_queue"):
            raise ValueError("is MNS_QUEUE itself")
        return value

    @field_validator("oss_region")
    @classmethod
    def _infer_region(cls, value: str, info: ValidationInfo) -> str:
        oss_endpoint = info.data.get("oss_endpoint", "")
        region = value.removeprefix("oss-") or addresses.oss_region(oss_endpoint)
        if oss_endpoint and not region:
            raise ValueError("is not set, and OSS_ENDPOINT does not name it")
        return region

    @field_validator("access_key_secret", "security_token")
    @classmethod
    def _has_access_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        has_key = info.data.get("access_key_id", value) is not None
        if value is not None and not has_key:
            raise ValueError("is set without ALIBABA_CLOUD_ACCESS_KEY_ID")
        if value is None and has_key and info.field_name == "access_key_secret":
            raise ValueError("is not set, but ALIBABA_CLOUD_ACCESS_KEY_ID is")
        return value

    @field_validator("deletions")
    @classmethod
    def _has_destination(cls, value: str, info: ValidationInfo) -> str:
        if value == "propagate" and info.data.get("obs_endpoint", value) is None:
            raise ValueError("needs OBS_ENDPOINT: without it there is nothing to delete from")
        return value

    @field_validator("obs_sk", "obs_security_token")
    @classmethod
    def _has_obs_key(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        has_key = info.data.get("obs_ak", value) is not None
        if value is not None and not has_key:
            raise ValueError("is set without OBS_AK")
        if value is None and has_key and info.field_name == "obs_sk":
            raise ValueError("is not set, but OBS_AK is")
        return value

    @cached_property
    def sync_task(self) -> SyncTask:
        """`SYNC_URL` in its parts. Raises `Fatal` where there are several routes and these are of none."""
        if self.route == UNROUTED:
            raise Fatal("what no route takes has no sync task. Nothing was done. Name a route.")
        if self.sync_url is None:
            raise Fatal(
                f"a route has to be chosen: {self.routes_file} names {len(self.routes)}. Nothing was done. "
                f"Name one with --route: {', '.join(each.route for each in self.routes)}"
            )
        return SyncTask.parse(self.sync_url)

    @property
    def deletions_allowed_per_hour(self) -> int | None:
        """How many deletions an hour are propagated; None where none is."""
        return self.deletions_per_hour if self.deletions == "propagate" else None

    @cached_property
    def home(self) -> str:
        """The folder of the log bucket for what belongs to no single route.

        Of one route it is that of its task, of several none of theirs: a dot is in no task id.
        """
        return self.sync_task.task_id if self.routes_file is None else f"queue.{self.mns_queue}"

    @cached_property
    def folder(self) -> str:
        """The folder of the log bucket that these settings are about: the task's, or what no route takes.

        Raises `Fatal` like `sync_task`.
        """
        return self.home if self.route == UNROUTED else self.sync_task.task_id

    @property
    def each_route(self) -> tuple[Settings, ...]:
        """The settings of each route; without a file these are the only ones."""
        return self.routes or (self,)

    def of_route(self, name: str) -> Settings:
        """Return the settings of a route. Raises `Fatal` if there is none of that name."""
        for each in self.routes:
            if each.route == name:
                return each
        if self.routes and name == UNROUTED:
            return self.model_copy(update={"route": UNROUTED, "routes": ()})
        if not self.routes:
            raise Fatal(
                f"there is no route {name!r}: RELAY_ROUTES names no file, and the relay has one task. "
                "Nothing was done. Leave --route out."
            )
        known = ", ".join(each.route for each in self.routes)
        raise Fatal(
            f"{self.routes_file} has no route {name!r}. Nothing was done. Name one of these: {known}"
        )

    @cached_property
    def proxies_used(self) -> tuple[str, ...]:
        """`host:port` of each proxy that calls to MNS, OSS or OMS go by; empty: all are direct."""
        bucket = addresses.bucket_origin(self.oss_endpoint, self.log_bucket)
        tasks = (each.sync_url or "" for each in self.each_route)
        urls = (self.mns_endpoint, bucket, *tasks)
        return tuple(dict.fromkeys(str(found) for url in urls if (found := self.proxies.of(url))))

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What is accepted but deserves a look, one sentence each."""
        return tuple(_warnings(self))


def load_settings(
    environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")
) -> Settings:
    """Read every setting, or raise one SettingsError that names all problems.

    A name comes from `environ` (the process environment unless given), else from its file, else
    from `dotenv`, which may be missing; if it cannot be read, that is the only problem named. Empty
    values count as not set.
    """
    own = _dotenv(dotenv)
    called = dotenv.name if dotenv else ".env"
    layers = [
        Layer("the environment", os.environ if environ is None else environ),
        Layer(called, own.values),
    ]
    found = find_all(_FIELDS, layers)
    problems = {name: what.problem for name, what in found.items() if what.problem}
    values: dict[str, Any] = {name: what.value for name, what in found.items() if not what.problem}
    files = {name: what.file for name, what in found.items() if what.file}
    proxies, unusable = find_proxies(*(layer.values for layer in layers))
    settings = None
    given = _Given(values, files, proxies)
    try:
        settings = given.settings()
    except ValidationError as error:
        problems = {**dict(_problems(error, files)), **problems}
    routes = _routes(given, layers, problems) if "RELAY_ROUTES" in values else _Routes()
    problems |= unusable
    problems |= unknown("RELAY_", _FIELDS, layers)
    problems |= misspelt([name for name in _FIELDS if not name.startswith("RELAY_")], layers)
    problems = ({called: own.problem} if own.problem else {}) | problems
    if settings is None or problems or routes.problems:
        told = [f"{name} {problem}" for name, problem in problems.items()]
        raise SettingsError((*told, *routes.problems))
    return given.settings(routes=tuple(routes.found)) if routes.found else settings


@dataclass(frozen=True, slots=True)
class _Given:
    """What was found by the names of settings, from which settings are made."""

    values: Mapping[str, Any]
    files: Mapping[str, Path]
    proxies: Proxies

    def settings(self, **more: Any) -> Settings:
        """Make settings of it. Raises `ValidationError`."""
        return Settings(**self.values, secret_files=self.files, proxies=self.proxies, **more)

    def of(self, entry: RouteEntry) -> _Given:
        """Return what holds for a route: where it has a key of its own, no other one is mixed with it."""
        own: tuple[str, ...] = ("HW_",) if entry.has_own_key else ()
        own += ("OBS_AK", "OBS_SK", "OBS_SEC") if own or "OBS_AK" in entry.places else ()
        values = {k: v for k, v in self.values.items() if not (own and k.startswith(own))}
        files = {k: v for k, v in self.files.items() if not (own and k.startswith(own))}
        return _Given(values | entry.values, files | entry.files, self.proxies)


@dataclass(slots=True)
class _Routes:
    found: list[Settings] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _routes(given: _Given, layers: Sequence[Layer], problems: dict[str, str]) -> _Routes:
    """Make the settings of each route; what is wrong with one is told by its line, and for none twice."""
    file = read_routes(Path(given.values["RELAY_ROUTES"].strip()), layers)
    for name, instead in (("SYNC_URL", "sync_url"), ("OBS_BUCKET", "obs_bucket")):
        if name in given.values:
            problems[name] = (
                f"is set, and RELAY_ROUTES too; accepted: {instead} of each route in its file"
            )
    routes = _Routes(problems=file.problems)
    log_bucket = given.values.get("LOG_BUCKET", "").strip()
    for entry in file.entries:
        if entry.bucket and entry.bucket == log_bucket:
            why = "bucket is LOG_BUCKET: each record would be announced as a change; accepted: another"
            file.complain(entry.line, entry.name, why)
        more = {"route": entry.name, "bucket": entry.bucket, "prefix": entry.prefix}
        try:
            made = given.of(entry).settings(**more)
        except ValidationError as error:
            _complain(file, entry, error, problems)
        else:
            _require_keys(file, entry, made)
            routes.found.append(made)
    return routes


def _complain(
    file: RoutesFile, entry: RouteEntry, error: ValidationError, told: Mapping[str, str]
) -> None:
    """Tell what is wrong with what the entry says; the rest is told of the settings themselves."""
    for name, problem in _problems(error, entry.files):
        if name in entry.places:
            key, line = entry.places[name]
            file.complain(line, entry.name, f"{key} {problem}")
        elif name not in told:
            file.complain(entry.line, entry.name, f"{name} {problem}")


def _require_keys(file: RoutesFile, entry: RouteEntry, made: Settings) -> None:
    for name, value in (("hw_ak", made.hw_ak), ("hw_sk", made.hw_sk)):
        if value is None and name.upper() not in entry.places:
            file.complain(
                entry.line,
                entry.name,
                f"has no {name}; accepted: {name}_env or {name}_file here, or {name.upper()} for all routes",
            )


def _dotenv(path: Path | None) -> DotEnv:
    """Read it, or raise a SettingsError about it alone: what it would have set is not missing."""
    try:
        return read_dotenv(path) if path else DotEnv({})
    except ValueError as error:
        problem = f"{path.name if path else ''} can't be used, {error}; accepted: a readable file, or none"
    raise SettingsError((problem,))


def settings_table() -> str:
    """Render every setting as a Markdown table, for docs/settings.md."""
    rows = ["| name | default | accepted | meaning |", "|---|---|---|---|"]
    for name, info in _FIELDS.items():
        default = {None: "none", "": "inferred"}.get(info.default, f"`{info.default}`")
        shown = _extra(info, "default") or (
            "required" if info.is_required() else default.replace(".0`", "`")
        )
        rows.append(f"| `{name}` | {shown} | {_extra(info, 'accepted')} | {info.description} |")
    return "\n".join(rows) + "\n"


_FIELDS = {info.alias: info for info in Settings.model_fields.values() if info.alias}


def _extra(info: FieldInfo, name: str) -> str:
    extra = info.json_schema_extra
    return str(extra[name]) if isinstance(extra, dict) else ""


def _problems(error: ValidationError, files: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    for fault in error.errors(include_url=False):
        where, value = str(fault["loc"][0]), fault["input"]
        # A default that is refused is reported by attribute, everything else by alias.
        info = _FIELDS.get(where) or Settings.model_fields[where]
        name = str(info.alias)
        wrong = "can't be used"
        if fault["type"] == "missing":
            wrong = "is not set"
        elif fault["type"] == "value_error":
            wrong = str(fault["ctx"]["error"])
        is_shown = isinstance(value, str) and value and not set(value) & {"@", "?"}
        # Project ids in SYNC_URL are such runs, too.
        is_shown = is_shown and ("://" in value or not _LIKE_A_SECRET.search(value))
        if is_shown and "SecretStr" not in str(info.annotation):
            wrong = f"({value[:_SHOWN_CHARS_MAX]!r}) {wrong}"
        if name in files:
            wrong += f" (read from {files[name]})"
        yield name, f"{wrong}; accepted: {_extra(info, 'accepted')}"


def _warnings(settings: Settings) -> Iterator[str]:
    mns = urlsplit(settings.mns_endpoint)
    if mns.scheme == "http" and not addresses.is_loopback(mns.hostname or ""):
        yield "MNS_ENDPOINT is plain http: whoever sees the traffic can read and change messages."
    if settings.batch_keys > _BATCH_KEYS_DOCUMENTED:
        yield "RELAY_BATCH_KEYS is above 10, the documented maximum of one post to OMS."
    if settings.obs_endpoint is None and (settings.obs_bucket or settings.obs_ak):
        yield "OBS_BUCKET or OBS_AK is set without OBS_ENDPOINT: nothing looks at the destination."
    inferred = addresses.oss_region(settings.oss_endpoint)
    if inferred not in {"", settings.oss_region}:
        yield f"OSS_REGION is {settings.oss_region}, but OSS_ENDPOINT names {inferred}."
    if settings.admin_port and addresses.is_public(settings.admin_host):
        yield "RELAY_ADMIN_HOST may be reachable from other networks, and it asks for no password."
