"""The rivals: the official SDKs in 16 threads, and the documented function's behaviour, written anew.

Usage: python -m bench.rivals sdks|function URL COUNT
"""

from __future__ import annotations

import base64
import json
import logging
import sys
import threading
import time
import warnings
from urllib.parse import quote

import oss2
import requests
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkoms.v2 import CreateSyncEventsRequest, OmsClient, SyncObjectReq
from mns.account import Account
from mns.mns_exception import MNSServerException

from worker.clouds.oms_signature import HuaweiCredentials, sign

HUAWEI = HuaweiCredentials("BENCHKEY", "bench-secret")
THREADS = 16
LEFT = threading.Lock()


def key_of(body: bytes | str) -> str:
    """Return the object key of an event."""
    text = body if isinstance(body, bytes) else base64.b64decode(body)
    found: str = json.loads(text)["events"][0]["oss"]["object"]["key"]
    return found


def sdks(url: str, count: int) -> None:
    """Drain with aliyun-mns-sdk, huaweicloudsdkoms and oss2, in each of 16 threads."""
    left = [count]
    oms = (
        OmsClient.new_builder()
        .with_credentials(BasicCredentials("BENCHKEY", "bench-secret", "p"))
        .with_endpoint(url)
        .build()
    )
    bucket = oss2.Bucket(
        oss2.AuthV4("bench", "bench-secret"), url, "records", enable_crc=False, region="cn-hangzhou"
    )

    def work() -> None:
        queue = Account(url, "bench", "bench-secret").get_queue("bench")
        while left[0] > 0:
            try:
                messages = queue.batch_receive_message(16, 1)
            except MNSServerException:
                continue
            keys = [key_of(each.message_body) for each in messages]
            for at in range(0, len(keys), 10):
                some = [quote(key, safe="") for key in keys[at : at + 10]]
                oms.create_sync_events(CreateSyncEventsRequest("t", SyncObjectReq(some)))
            for key in keys:
                bucket.put_object(f"r/t/success_object/{key}", b"{}")
            queue.batch_delete_message([each.receipt_handle for each in messages])
            with LEFT:
                left[0] -= len(messages)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def function(url: str, count: int) -> None:
    """Do what the documented function does: one key per post, new clients, a zero-byte record."""
    queue = Account(url, "bench", "bench-secret").get_queue("bench")
    while count > 0:
        try:
            message = queue.receive_message(1)
        except MNSServerException:
            continue
        key = key_of(message.message_body)
        body = json.dumps({"object_keys": [key]}).encode()
        target = f"{url}/v2/p/sync-tasks/t/events"
        headers = sign(
            "POST", target, {"Content-Type": "application/json"}, body, HUAWEI, time.time()
        )
        requests.request("POST", target, headers=headers, data=body, timeout=30)
        bucket = oss2.Bucket(
            oss2.AuthV4("bench", "bench-secret"), url, "records", region="cn-hangzhou"
        )
        bucket.put_object(f"oms_source_record/t/success_object/{key}", "")
        queue.delete_message(message.receipt_handle)
        count -= 1


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    print("ready", flush=True)
    sys.stdin.readline()
    {"sdks": sdks, "function": function}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
