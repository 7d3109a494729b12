from __future__ import annotations

import pytest

from worker.errors import Blame, CallFailed, Failure, Fatal, Outcome, RelayError


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (
            Failure("oms", "CreateSyncEvents", Outcome.UNKNOWN, Blame.PASSING, message="timed out"),
            "oms CreateSyncEvents gave no answer: timed out",
        ),
        (
            Failure("oss", "PutObject", Outcome.RETRY_LATER, Blame.PASSING, 503),
            "oss PutObject answered 503",
        ),
        (
            Failure(
                "mns", "Poll", Outcome.RETRY_LATER, Blame.SERVICE, 404, "QueueNotExist", "", "R1"
            ),
            "mns Poll answered 404 QueueNotExist (request R1)",
        ),
        (
            Failure("oms", "Post", Outcome.REJECTED, Blame.ITEM, 400, "OMS.0064", "bad key", "R2"),
            "oms Post answered 400 OMS.0064: bad key (request R2)",
        ),
    ],
)
def test_a_failure_reads_as_one_sentence(failure: Failure, text: str) -> None:
    assert str(failure) == text
    assert str(CallFailed(failure)) == text


def test_everything_raised_on_purpose_has_one_root() -> None:
    assert issubclass(CallFailed, RelayError)
    assert issubclass(Fatal, RelayError)
