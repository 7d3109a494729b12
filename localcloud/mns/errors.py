"""The error answers of MNS: which code comes with which status and which text."""

from __future__ import annotations

# Statuses and texts as in the vendor's table of error responses; where the table gives no text,
# the words are ours.
CATALOGUE: dict[str, tuple[int, str]] = {
    "AccessDenied": (
        403,
        "The OwnerId that your Access Key Id associated to is forbidden for this operation.",
    ),
    "InternalError": (500, "Internal error."),
    "InvalidAccessKeyId": (403, "The access key id you provided is not exist."),
    "InvalidArgument": (400, "The argument is not valid."),
    "InvalidAuthorizationHeader": (400, "The Authorization header format is not valid."),
    "InvalidDateHeader": (400, "The Date header is not valid."),
    "InvalidQueryString": (400, "The query string is not valid."),
    "InvalidQueueName": (400, "The queue name you provided is not valid."),
    "InvalidRequestURL": (400, "The request URL is not valid."),
    "InvalidSecurityToken": (403, "The security token you provided is not valid."),
    "InvalidVersionHeader": (400, "The x-mns-version header is not valid."),
    "MalformedXML": (400, "The XML you provided was not well-formed."),
    "MessageNotExist": (404, "Message not exist."),
    "MissingAuthorizationHeader": (400, "The Authorization header is required."),
    "MissingDateHeader": (400, "The Date header is required."),
    "MissingReceiptHandle": (400, "The receipt handle is required."),
    "MissingVersionHeader": (400, "The x-mns-version header is required."),
    "MissingVisibilityTimeout": (400, "The visibility timeout is required."),
    "QueueAlreadyExist": (
        409,
        "The queue you want to create is already exist with different attributes.",
    ),
    "QueueNameLengthError": (400, "The queue name should be between 1 and 120 characters."),
    "QueueNotExist": (404, "The queue name you provided is not exist."),
    "ReceiptHandleError": (400, "The receipt handle you provide is not valid."),
    "SignatureDoesNotMatch": (
        403,
        "The request signature we calculated does not match the signature you provided.",
    ),
    # Assumption: 408, as in the error table; the page on signing says 400.
    "TimeExpired": (408, "The http request you sent is expired."),
    "TooManyRequests": (
        429,
        "The request is denied by cluster flow limiter for too many requests.",
    ),
}


class MnsError(Exception):
    """A refusal by MNS; `status` and `message` come from the catalogue unless given."""

    def __init__(self, code: str, message: str = "") -> None:
        self.code = code
        self.status, usual = CATALOGUE[code]
        self.message = message or usual
        super().__init__(f"{self.status} {code}: {self.message}")
