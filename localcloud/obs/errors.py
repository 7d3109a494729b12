"""The refusals of OBS, each with its status, code and message.

Statuses and codes are those of the error page of the API reference (obs_04_0115); the messages of
the skew are its own, the others are worded in its manner.
"""

from __future__ import annotations

from collections.abc import Mapping

NONE: Mapping[str, str] = {}


class ObsError(Exception):
    """OBS refuses a call: `status` and the fields of its XML answer."""

    def __init__(
        self, status: int, code: str, message: str, details: Mapping[str, str] = NONE
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.details = details


def access_denied(message: str = "Access Denied") -> ObsError:
    """Return the refusal of a call that the policy, or a missing signature or date, forbids."""
    return ObsError(403, "AccessDenied", message)


def invalid_argument(message: str) -> ObsError:
    """Return the refusal of a value that OBS cannot take."""
    return ObsError(400, "InvalidArgument", message)


def malformed_xml() -> ObsError:
    """Return the refusal of a body that is not the XML asked for."""
    message = "The XML you provided was not well-formed or did not validate against our schema."
    return ObsError(400, "MalformedXML", message)


def no_such_bucket(name: str) -> ObsError:
    """Return the refusal of a bucket that does not exist."""
    message = "The specified bucket does not exist"
    return ObsError(404, "NoSuchBucket", message, {"BucketName": name})


def no_such_key(key: str) -> ObsError:
    """Return the refusal of an object that does not exist."""
    return ObsError(404, "NoSuchKey", "The specified key does not exist.", {"Key": key})


def no_such_upload(upload_id: str) -> ObsError:
    """Return the refusal of a multipart upload that does not exist, or no longer."""
    message = (
        "The specified upload does not exist. The upload ID may be invalid, or may have ended."
    )
    return ObsError(404, "NoSuchUpload", message, {"UploadId": upload_id})


def not_allowed() -> ObsError:
    """Return the refusal of a call that this stand-in does not know."""
    return ObsError(405, "MethodNotAllowed", "Specified method is not supported.")


def too_many_wrong_signatures() -> ObsError:
    """Return what a key gets whose signatures were wrong too often."""
    # Assumption: the text; the page only says that frequent wrong requests are refused.
    message = "The request is rejected because of too many requests with wrong signatures."
    return ObsError(400, "TooManyWrongSignature", message)


def virtual_host_required() -> ObsError:
    """Return the refusal of a bucket that is named in the path."""
    message = "Virtual host domain is required when access a specific bucket."
    return ObsError(403, "VirtualHostDomainRequired", message)
