"""A process under RRSA that finds no way to STS: it says so, and shows no part of the token of its pod."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-W", "error::ResourceWarning", "-m", "worker", "run")
JWT = ("eyJhbGciOiJSUzI1NiJ9", "eyJzdWIiOiJyZWxheSJ9", "c2lnbmF0dXJlLW9mLWl0")
SETTINGS = {
    "MNS_ENDPOINT": "http://127.0.0.1:9",
    "MNS_QUEUE": "oss-events",
    "OSS_ENDPOINT": "http://127.0.0.1:9",
    "OSS_REGION": "cn-hangzhou",
    "LOG_BUCKET": "relay-log",
    "SYNC_URL": "http://127.0.0.1:9/v2/project/sync-tasks/task/events",
    "HW_AK": "AK",
    "HW_SK": "SK",
    "RELAY_ADMIN_PORT": "0",
    "ALIBABA_CLOUD_ROLE_ARN": "acs:ram::1:role/relay",
    "ALIBABA_CLOUD_OIDC_PROVIDER_ARN": "acs:ram::1:oidc-provider/ack",
    "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
}


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_part_of_the_token_is_shown_where_sts_is_out_of_reach(
    tmp_path: Path, log_format: str
) -> None:
    token = tmp_path / "token"
    token.write_text(".".join(JWT))
    ours = ("RELAY_", "MNS_", "OSS_", "LOG_", "ALIBABA_", "SYNC_", "HW_", "HUAWEICLOUD_", "OTEL_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with socket.socket() as taken:
        # Bound and not listening: refused. As the proxy, so that the name of STS is never looked up.
        taken.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{taken.getsockname()[1]}"
        told = {
            "HOME": str(tmp_path),
            "HTTPS_PROXY": proxy,
            "https_proxy": proxy,
            "ALIBABA_CLOUD_OIDC_TOKEN_FILE": str(token),
            "RELAY_LOG_FORMAT": log_format,
            "DEBUG": "sdk",
        }
        ended = subprocess.run(
            COMMAND,
            env=clean | SETTINGS | told,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert not [part for part in JWT if part in ended.stderr]
    assert "Traceback" not in ended.stderr
    assert "Connection refused" in ended.stderr
    assert "oms-relay: no credentials were found (CredentialException: " in ended.stderr
