"""Refusals as OMS and the API gateway before it word them.

Vendor facts: the "Error Codes" pages of OMS and of API Gateway. The gateway answers with
`APIGW.*`, `error_msg` and `request_id`; OMS with `OMS.*`, `error_msg` and now and then
`error_detail`. Which OMS code belongs to which refusal is not published for synchronization tasks.
"""

from __future__ import annotations

import json

from localcloud.faults import Fault
from localcloud.service import Reply

JSON = "application/json"


class RefusedError(Exception):
    """A call is answered with an error; `reply` is the answer on the wire."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        detail: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code} {message} {detail}".rstrip())
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail
        self.headers = headers or {}

    def reply(self, request_id: str) -> Reply:
        """Return the answer; only the gateway repeats the request id in the body."""
        body = {"error_msg": self.message, "error_code": self.code}
        if self.code.startswith("APIGW."):
            body["request_id"] = request_id
        if self.detail:
            body["error_detail"] = self.detail
        return Reply(self.status, json.dumps(body), {"Content-Type": JSON, **self.headers})


def unauthenticated(reason: str, code: str = "APIGW.0301") -> RefusedError:
    """Refuse credentials or their signature: 401, the class that counts towards a lock-out."""
    return RefusedError(401, code, f"Incorrect IAM authentication information: {reason}")


def forbidden(action: str) -> RefusedError:
    """Refuse a caller whose policy lacks an action."""
    # Assumption: the text; the status and the code are the gateway's for a user not allowed.
    return RefusedError(
        403, "APIGW.0302", f"The IAM user is not allowed to access the API: {action} is not granted"
    )


def no_such_api() -> RefusedError:
    """Refuse a method and path that name no API."""
    return RefusedError(
        404, "APIGW.0101", "The API does not exist or has not been published in the environment"
    )


def too_large() -> RefusedError:
    """Refuse a body over the gateway's 12 MB."""
    return RefusedError(413, "APIGW.0201", "Request entity too large")


def throttled(calls: int, seconds: int, retry_after_seconds: int | None) -> RefusedError:
    """Refuse a call over the rate limit, in the words seen from other services of the gateway."""
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    message = (
        "The throttling threshold has been reached: "
        f"policy user over ratelimit,limit:{calls},time:{seconds} second"
    )
    return RefusedError(429, "APIGW.0308", message, headers=headers)


def invalid(parameter: str) -> RefusedError:
    """Refuse a parameter's value, without saying which element of it is wrong."""
    # Assumption: the code; the wording and `error_detail` were seen for another parameter.
    return RefusedError(
        400,
        "OMS.0064",
        "Invalid request parameters.",
        detail=f"request parameter [{parameter}] invalid.",
    )


def missing(parameter: str) -> RefusedError:
    """Refuse a call without a mandatory parameter."""
    # Assumption: OMS.1004, one of two codes for missing parameters.
    return RefusedError(400, "OMS.1004", f"Missing parameter {parameter}.")


def wrong_type(parameter: str) -> RefusedError:
    """Refuse a parameter of another JSON type."""
    # Assumption: OMS.1010 "type mismatch".
    return RefusedError(400, "OMS.1010", f"The type of parameter {parameter} does not match.")


def not_json() -> RefusedError:
    """Refuse a body that is not JSON."""
    # Assumption: OMS.0067; OMS.1006 says nearly the same.
    return RefusedError(400, "OMS.0067", "The request parameters are not in JSON format.")


def malformed_task_id() -> RefusedError:
    """Refuse a task id that no task can have."""
    # Assumption: the code table has OMS.0054 "invalid task ID" for migration tasks.
    return RefusedError(400, "OMS.0054", "Invalid task ID.")


def no_such_task() -> RefusedError:
    """Refuse a task id that this project does not have."""
    # Assumption: 404 is documented for the events API; its code is not.
    return RefusedError(404, "OMS.1009", "No resources found.")


def account_frozen() -> RefusedError:
    """Refuse every call of an account that is frozen, as for want of payment."""
    # Assumption: that synchronization tasks answer this code of the table, and the wording.
    return RefusedError(400, "OMS.0202", "The account is frozen.")


def destination_denied() -> RefusedError:
    """Refuse keys whose objects cannot be written."""
    # Assumption: as above.
    return RefusedError(400, "OMS.1020", "The destination bucket cannot be accessed.")


def overloaded() -> RefusedError:
    """Refuse for lack of room: only CreateSyncEvents documents 503."""
    # Assumption: the code.
    return RefusedError(503, "OMS.1001", "Internal error.")


def overload(times: int | None = None, operation: str = "CreateSyncEvents") -> Fault:
    """Return a fault that makes OMS answer 503 as it does under overload."""
    reply = overloaded().reply("")
    return Fault("oms", operation, status=503, body=str(reply.body), content_type=JSON, times=times)
