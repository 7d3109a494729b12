"""Alibaba OSS on loopback: buckets, objects, signatures, listings, and events."""

from localcloud.oss.events import EventRule, Form, KeyForm
from localcloud.oss.service import OssService
from localcloud.storage.bucket import Bucket
from localcloud.storage.stored import StoredObject

__all__ = ["Bucket", "EventRule", "Form", "KeyForm", "OssService", "StoredObject"]
