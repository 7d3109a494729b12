from __future__ import annotations

from typing import Any

import pytest

from doubles.build import failure
from worker.advice.rights import missing
from worker.errors import Blame
from worker.observe.journal import hint

DENIED = {
    ("mns", "BatchReceiveMessage"): "mns:ReceiveMessage",
    ("mns", "BatchDeleteMessage"): "mns:DeleteMessage",
    ("mns", "BatchPeekMessage"): "mns:PeekMessage",
    ("mns", "GetQueueAttributes"): "mns:GetQueueAttributes",
    ("oss", "PutObject"): "oss:PutObject",
    ("oss", "HeadObject"): "oss:GetObject",
    ("oss", "ListObjectsV2"): "oss:ListObjects",
    ("oms", "CreateSyncEvents"): "oms:synctask:createEvent",
    ("oms", "ShowSyncTask"): "oms:synctask:get",
}


@pytest.mark.parametrize(("service", "operation"), DENIED)
def test_a_denied_call_names_the_action_to_grant(service: str, operation: str) -> None:
    denied = failure(
        Blame.SERVICE, service=service, operation=operation, status=403, code="AccessDenied"
    )
    assert missing(denied) == DENIED[service, operation]
    assert f"grant {DENIED[service, operation]} " in hint(denied)


@pytest.mark.parametrize(
    "more",
    [
        {"status": 404, "code": "NoSuchBucket"},
        {"status": 403, "code": "SignatureDoesNotMatch", "blame": Blame.CREDENTIALS},
        {"status": 403, "code": "UserDisable"},
        {"status": 403, "code": "AccessDenied", "message": "use the specified endpoint."},
    ],
)
def test_other_refusals_are_no_question_of_rights(more: dict[str, Any]) -> None:
    blame = Blame(str(more.pop("blame", Blame.SERVICE)))
    refused = failure(blame, service="oss", operation="PutObject", **more)
    assert missing(refused) is None
    assert "grant " not in hint(refused)
