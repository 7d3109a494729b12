"""The refusals of OSS, each with its status, code, message and fine-grained EC.

Codes and messages are those of Alibaba's error reference (oss/developer-reference, "error codes",
and the pages per EC).
Assumption: the ECs of signatures, missing buckets and keys, denials and forbidden overwrites are the
documented ones; the others are made up in the manner of their family, for none were found. Nobody
should decide by an EC: OSS itself says that they may change.
"""

from __future__ import annotations

from collections.abc import Mapping

NONE: Mapping[str, str] = {}


class OssError(Exception):
    """OSS refuses a call: `status` and the fields of its XML answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        ec: str,
        *,
        details: Mapping[str, str] = NONE,
        headers: Mapping[str, str] = NONE,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.ec = ec
        self.details = details
        self.headers = headers


def access_denied(message: str, ec: str = "0003-00000001") -> OssError:
    """Return the refusal of a call that the policy, or the lack of a signature, forbids."""
    return OssError(403, "AccessDenied", message, ec)


def invalid_argument(message: str, ec: str = "0017-00000001", **details: str) -> OssError:
    """Return the refusal of a value that OSS cannot take."""
    return OssError(400, "InvalidArgument", message, ec, details=details)


def malformed_xml() -> OssError:
    """Return the refusal of a body that is not the XML asked for."""
    message = "The XML you provided was not well-formed or did not validate against our schema."
    return OssError(400, "MalformedXML", message, "0042-00000001")


def no_such_bucket(name: str) -> OssError:
    """Return the refusal of a bucket that does not exist."""
    message = "The specified bucket does not exist."
    return OssError(404, "NoSuchBucket", message, "0015-00000101", details={"BucketName": name})


def no_such_key(key: str) -> OssError:
    """Return the refusal of an object that does not exist."""
    message = "The specified key does not exist."
    return OssError(404, "NoSuchKey", message, "0026-00000001", details={"Key": key})


def no_such_upload(upload_id: str) -> OssError:
    """Return the refusal of a multipart upload that does not exist, or no longer."""
    message = (
        "The specified upload does not exist. The upload ID may be invalid, or may have ended."
    )
    return OssError(404, "NoSuchUpload", message, "0042-00000311", details={"UploadId": upload_id})


def not_implemented() -> OssError:
    """Return the refusal of a call that this stand-in does not know."""
    message = "A header or query you provided implies functionality that is not implemented."
    return OssError(501, "NotImplemented", message, "0017-00000501")
