"""What a process says and does when it cannot start: everything at once, code 2, no secret, no trace."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

COMMAND = (sys.executable, "-W", "error::ResourceWarning", "-m", "worker", "run")
SECRET = "a-secret-nobody-may-see"
RIGHT = {
    "MNS_ENDPOINT": "http://127.0.0.1:9",
    "MNS_QUEUE": "oss-events",
    "OSS_ENDPOINT": "http://127.0.0.1:9",
    "OSS_REGION": "cn-hangzhou",
    "LOG_BUCKET": "relay-log",
    "ALIBABA_CLOUD_ACCESS_KEY_ID": "LTAI",
    "ALIBABA_CLOUD_ACCESS_KEY_SECRET": SECRET,
    "SYNC_URL": "http://127.0.0.1:9/v2/project/sync-tasks/task/events",
    "HW_AK": "AK",
    "HW_SK": SECRET,
    "RELAY_ADMIN_PORT": "0",
}
BEYOND_LOOPBACK = "http://oms.cn-north-4.myhuaweicloud.com/v2/p/sync-tasks/t/events"


def started(directory: Path, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    ours = ("RELAY_", "MNS_", "OSS_", "LOG_", "ALIBABA_", "SYNC_", "HW_", "HUAWEICLOUD_", "OTEL_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        COMMAND,
        env=clean | settings,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refusal(directory: Path, settings: dict[str, str]) -> str:
    """Start, and return what is said on standard error."""
    ended = started(directory, settings)
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert SECRET not in ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    told = refusal(tmp_path, {})
    required = ("MNS_ENDPOINT", "MNS_QUEUE", "OSS_ENDPOINT", "LOG_BUCKET", "SYNC_URL", "HW_AK")
    assert all(f"- {name} is not set" in told for name in (*required, "HW_SK"))
    assert "Nothing was started" in told


def test_all_that_is_wrong_is_told_at_once_with_what_is_accepted(tmp_path: Path) -> None:
    wrong = {
        "MNS_QUEUE": "under_score",
        "LOG_BUCKET": "UPPER",
        "OSS_ENDPOINT": "http://oss-cn-hangzhou.aliyuncs.com",
        "SYNC_URL": BEYOND_LOOPBACK,
        "RELAY_BATCH_KEYS": "1000",
        "RELAY_POLLER": "4",
        "RELAY_RECORD_LAYOUT": "parquet",
    }
    told = refusal(tmp_path, RIGHT | wrong)
    named = [line for line in told.splitlines() if line.startswith("  - ")]
    assert {line.split()[1] for line in named} >= set(wrong)
    assert all("accepted: " in line for line in named)
    assert "plain http, which is refused beyond loopback" in told
    assert "RELAY_POLLERS comes nearest" in told


def test_a_secret_with_a_blank_in_it_is_refused_and_not_shown(tmp_path: Path) -> None:
    wrong = dict.fromkeys(("HW_SK", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"), f"{SECRET} {SECRET}")
    told = refusal(tmp_path, RIGHT | wrong)
    assert all(name in told for name in wrong)


def test_what_makes_no_sense_is_told_at_once_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"# mine\n{SECRET}\nHW_SECURITY_TOKEN={SECRET}\n")
    wrong = {
        "MNS_ENDPOINT": "https://a..b",
        "OSS_ENDPOINT": "https://relay-log.oss-cn-hangzhou.aliyuncs.com",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET": f'"{SECRET}"',
        "HW_AK": "<your-ak>",
    }
    told = refusal(tmp_path, RIGHT | wrong)
    assert all(f"  - {name} " in told for name in (*wrong, "HW_SECURITY_TOKEN", ".env"))
    assert f"line 2 of {Path('.env')}" in told


def test_a_dotenv_that_cannot_be_decoded_is_all_that_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(f"HW_SK={SECRET}".encode("utf-16"))
    told = refusal(tmp_path, {})
    assert ".env can't be used, .env is not UTF-8 text" in told
    assert told.count("  - ") == 1


def test_a_port_in_use_is_told_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = refusal(tmp_path, RIGHT | {"RELAY_ADMIN_PORT": port})
    assert f"127.0.0.1:{port}" in told
    assert "set RELAY_ADMIN_PORT" in told
    assert "Nothing was started" in told


def test_a_missing_secret_file_is_told(tmp_path: Path) -> None:
    settings = {name: value for name, value in RIGHT.items() if name != "HW_SK"}
    missing = tmp_path / "nowhere"
    told = refusal(tmp_path, settings | {"HW_SK_FILE": str(missing)})
    assert f"HW_SK can't be read, {missing} is missing" in told


def test_traces_without_their_packages_are_told(tmp_path: Path) -> None:
    # Stands before the real one, as if the extra were not installed.
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    wish = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": str(tmp_path)}
    told = refusal(tmp_path, RIGHT | wish)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, but a package for them is missing" in told
    assert "Nothing was received. Install oms-relay[otel], or set OTEL_SDK_DISABLED=true" in told


def test_a_file_that_is_named_stands_for_the_dotenv_here(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RELAY_PORLERS=4\n")
    named = tmp_path / "relay.env"
    named.write_text("RELAY_LINGER_MS=soon\n")
    told = subprocess.run(
        (sys.executable, "-m", "worker", "--env-file", str(named), "status"),
        env={"PATH": os.defpath},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 2
    assert "RELAY_LINGER_MS" in told.stderr
    assert "RELAY_PORLERS" not in told.stderr


def test_a_file_that_is_named_and_missing_is_told(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "worker", "--env-file", "none.env", "run")
    told = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert told.returncode == 2
    assert "none.env" in told.stderr
