from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from itertools import product

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from doubles.build import Heard, failure, held
from doubles.clock import HandClock, settle
from worker.advice import advise
from worker.clouds.credentials import AlibabaCredentials
from worker.clouds.oms_signature import HuaweiCredentials
from worker.errors import Blame, Outcome
from worker.events.event import Kind
from worker.observe import logs
from worker.observe.journal import ENDS_TOLD_MAX, FIELD_CHARS_MAX, Journal, bounded
from worker.observe.metrics import Metrics
from worker.observe.summary import SUMMARY_SECONDS, Lags

SECRETS = ("the-secret", "the-token")


class Stream(io.TextIOWrapper):
    """A text stream in memory, with bytes below it as standard error has them."""

    def __init__(self, *, is_terminal: bool = False) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal

    @property
    def text(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("end", "level", "action"),
    [
        ("deleted", "debug", "delete"),
        ("released", "warning", "released"),
        ("dead_letter", "warning", "dead_letter"),
    ],
)
def test_a_message_ends_with_one_line_that_tells_all(
    heard: Heard, end: str, level: str, action: str
) -> None:
    message = held("M1", deliveries=3)
    message.first_key, message.keys = "a.txt", 2
    heard.journal.ended(message.story(), end, 1.2345, "why" if end != "deleted" else "")
    (line,) = heard.lines
    expected = {
        "log_level": level,
        "action": action,
        "message_id": "M1",
        "key": "a.txt",
        "keys": 2,
        "attempt": 3,
        "outcome": end,
        "took_ms": 1234,
    }
    assert expected.items() <= line.items()
    assert ("why" in line) == (end != "deleted")
    assert ("hint" in line) == (end == "dead_letter")
    assert heard.count("messages_ended_total", end=end) == 1


def test_of_many_bad_ends_a_few_a_minute_are_told_and_all_are_counted(heard: Heard) -> None:
    for number in range(3 * ENDS_TOLD_MAX):
        heard.journal.ended(held(f"M{number}").story(), "released", 1.0, "why")
    heard.journal.ended(held("M").story(), "dead_letter", 1.0, "why")
    levels = [line["log_level"] for line in heard.lines]
    assert levels.count("warning") == ENDS_TOLD_MAX + 1
    assert heard.journal.tally.counts["released"] == 3 * ENDS_TOLD_MAX


async def test_a_minute_is_told_in_one_line_and_an_idle_one_in_none(heard: Heard) -> None:
    clock = HandClock()
    journal = heard.journal
    summing = asyncio.create_task(journal.keep_summing(clock))
    await settle()
    clock.advance(SUMMARY_SECONDS)
    await settle()
    assert heard.lines == []
    journal.received(3)
    journal.merged()
    journal.recorded("success_object", 2, [(1.0, "live"), (9000.0, "resent")])
    journal.recorded("failed_object", 1, [(3.0, "live")])
    journal.tally.waiting = 7
    clock.advance(SUMMARY_SECONDS)
    await settle()
    (line,) = heard.lines
    assert line == {
        "event": "summary",
        "log_level": "info",
        "action": "summary",
        "over_seconds": 60.0,
        "received": 3,
        "deleted": 0,
        "merged": 1,
        "refused": 1,
        "dead_letter": 0,
        "released": 0,
        "lapsed": 0,
        "lag_p50_seconds": 1.0,
        "lag_p99_seconds": 3.0,
        "waiting": 7,
    }
    journal.ended(held().story(), "dead_letter", 1.0, "why")
    clock.advance(20.0)
    summing.cancel()
    await asyncio.wait((summing,))
    assert (heard.lines[-1]["over_seconds"], heard.lines[-1]["dead_letter"]) == (20.0, 1)
    assert "lag_p50_seconds" not in heard.lines[-1]


@given(st.lists(st.floats(0, 1e6), max_size=200), st.integers(2, 20))
def test_quantiles_of_many_lags_come_from_some_evenly_spaced(
    found: list[float], lags_max: int
) -> None:
    lags = Lags(lags_max)
    for seconds in found:
        lags.add(seconds)
    assert len(lags._kept) <= lags_max
    quantiles = list(lags.quantiles().values())
    assert len(quantiles) == (2 if found else 0)
    assert quantiles == sorted(quantiles)
    assert all(each in [round(seconds, 3) for seconds in found] for each in quantiles)


def test_every_field_has_a_limit(heard: Heard) -> None:
    message = held()
    message.first_key = "k" * 100_000
    heard.journal.ended(message.story(), "released", 0.0, "w" * 100_000)
    heard.journal.own_record("k" * 100_000)
    heard.journal.breaker("oms", "open", failure(message="m" * 100_000))
    for line in heard.lines:
        texts = [value for value in line.values() if isinstance(value, str)]
        assert max(map(len, texts)) <= FIELD_CHARS_MAX


@pytest.mark.parametrize("length", [0, FIELD_CHARS_MAX - 1, FIELD_CHARS_MAX])
def test_a_text_within_the_limit_is_not_cut(length: int) -> None:
    assert bounded("x" * length) == "x" * length


def test_a_text_beyond_the_limit_ends_in_dots() -> None:
    assert bounded("x" * (FIELD_CHARS_MAX + 1)) == "x" * (FIELD_CHARS_MAX - 1) + "…"


@pytest.mark.parametrize(
    ("service", "blame"),
    list(product(["mns", "oss", "oms"], [Blame.CREDENTIALS, Blame.SERVICE])),
)
def test_whoever_has_to_act_is_told_where_to_look(heard: Heard, service: str, blame: Blame) -> None:
    heard.journal.breaker(service, "open", failure(blame, service=service))
    (line,) = heard.lines
    assert line["hint"] == str(advise(failure(blame, service=service)))
    assert (line["log_level"], line["service"]) == ("error", service)
    assert heard.count("breaker_open", service=service) == 1


@pytest.mark.parametrize(
    ("state", "value", "text"), [("closed", 0.0, "works"), ("trial", 0.5, "on trial")]
)
def test_a_service_that_is_back_is_good_news(
    heard: Heard, state: str, value: float, text: str
) -> None:
    heard.journal.breaker("oms", state, None)
    (line,) = heard.lines
    assert (line["log_level"], line["state"]) == ("info", state)
    assert text in line["event"]
    assert heard.count("breaker_open", service="oms") == value


def test_an_open_breaker_without_a_reason_is_told_too(heard: Heard) -> None:
    heard.journal.breaker("oms", "open", None)
    assert heard.lines[0]["why"] == ""


def test_every_step_of_the_flow_is_counted(heard: Heard) -> None:
    journal = heard.journal
    journal.received(3)
    journal.decoded(Kind.CREATED)
    journal.merged()
    journal.repeated()
    journal.posted({Outcome.ACCEPTED: 5})
    journal.recorded("success_object", 2, [(1.5, "live")])
    journal.called("oms", "Post", "ok", 0.1)
    journal.renewed("lost")
    assert heard.count("messages_received_total") == 3
    assert heard.count("events_decoded_total", kind="created") == 1
    assert heard.count("keys_merged_total") == 1
    assert heard.count("events_repeated_total") == 1
    assert heard.count("keys_posted_total", outcome="accepted") == 5
    assert heard.count("records_written_total", folder="success_object") == 2
    assert heard.count("lag_seconds_sum", origin="live") == 1.5
    assert heard.count("call_seconds_count", service="oms", operation="Post", result="ok") == 1
    assert heard.count("leases_renewed_total", result="lost") == 1


def test_no_secret_is_written_with_credentials_in_any_field() -> None:
    out = Stream()
    logs.configure("json", "debug", out)
    alibaba = AlibabaCredentials("AK", *SECRETS)
    huawei = HuaweiCredentials("AK", *SECRETS)
    structlog.get_logger("relay").info("start", one=alibaba, two=huawei, why=f"{alibaba} {huawei}")
    assert "AK" in out.text
    assert not any(secret in out.text for secret in SECRETS)


@pytest.mark.parametrize(
    ("log_format", "terminal", "is_json"),
    [
        ("auto", False, True),
        ("auto", True, False),
        ("console", False, False),
        ("json", True, True),
    ],
)
def test_people_on_a_terminal_read_lines_and_machines_read_json(
    log_format: str, terminal: bool, is_json: bool
) -> None:
    out = Stream(is_terminal=terminal)
    logs.configure(log_format, "info", out)
    Journal(Metrics(CollectorRegistry())).own_record("été\n")
    text = out.text
    assert text.count("\n") == 1
    if is_json:
        line = json.loads(text)
        assert (line["level"], line["key"]) == ("warning", "été\n")
        assert line["timestamp"].endswith("Z")
    else:
        assert "été" in text


def test_lines_below_the_level_are_not_written() -> None:
    out = Stream()
    logs.configure("json", "warning", out)
    log = structlog.get_logger("relay")
    log.info("quiet")
    log.warning("loud")
    assert [json.loads(line)["event"] for line in out.text.splitlines()] == ["loud"]


@pytest.mark.parametrize("value", ["half a pair \udcff", 2**80, {1: object}])
def test_no_value_of_a_field_can_stop_the_relay(value: object) -> None:
    out = Stream()
    logs.configure("json", "info", out)
    structlog.get_logger("relay").info("event", value=value)
    assert json.loads(out.text)["event"] == "event"


def test_an_exception_is_written_in_one_line() -> None:
    out = Stream()
    logs.configure("json", "info", out)
    try:
        1 // 0  # noqa: B018  it raises
    except ZeroDivisionError:
        structlog.get_logger("relay").exception("broken")
    (line,) = out.text.splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]


STRANGE = ["\x1b[2J", "\x7f", "a\x9b31m", "a\u202eb", "\u2066", "\u2028", "\U000e0041", "é 照片"]


@pytest.mark.parametrize("key", STRANGE)
def test_no_character_that_a_terminal_obeys_is_in_json(key: str) -> None:
    out = Stream()
    logs.configure("json", "info", out)
    structlog.get_logger("relay").info("message done", key=key)
    assert out.text.removesuffix("\n").isprintable()
    assert json.loads(out.text)["key"] == key


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_no_stack_trace_writes_to_a_terminal(log_format: str) -> None:
    out = Stream()
    logs.configure(log_format, "info", out)
    try:
        raise ValueError("\x1b[2J\u202e")  # noqa: TRY301  what it says is the point
    except ValueError:
        structlog.get_logger("relay").exception("broken")
    assert all(line.isprintable() for line in out.text.split("\n"))
    assert "ValueError" in out.text


@pytest.mark.parametrize("key", ["\x1b[2J\x1b]0;own\x07", "a\x9b31m", "a\u202eb", "a\nb", "\ud800"])
def test_no_control_character_of_a_key_reaches_a_terminal(key: str) -> None:
    out = io.TextIOWrapper(io.BytesIO())
    logs.configure("console", "info", out)
    structlog.get_logger("relay").bind().info("message done", key=key, event_of=key)
    out.flush()
    printed = out.buffer.getvalue().decode()
    assert printed.endswith("\n")
    assert printed[:-1].isprintable()


def test_messages_that_went_well_are_counted_together() -> None:
    heard = Heard()
    heard.journal.went_well(16)
    assert heard.count("messages_ended_total", end="deleted") == 16
    assert heard.journal.tally.counts["deleted"] == 16
    assert not heard.lines
