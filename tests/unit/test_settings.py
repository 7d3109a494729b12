from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from worker.config import environment
from worker.settings import Settings, SettingsError, SyncTask, load_settings, settings_table

ROOT = Path(__file__).parents[2]
TASK_URL = "https://oms.cn-north-4.myhuaweicloud.com/v2/0a1b/sync-tasks/c2d3-4/events"
NEEDED = {
    "MNS_ENDPOINT": "https://123.mns.cn-hangzhou.aliyuncs.com",
    "MNS_QUEUE": "oss-events",
    "OSS_ENDPOINT": "https://oss-cn-hangzhou.aliyuncs.com",
    "LOG_BUCKET": "relay-logs",
    "SYNC_URL": TASK_URL,
    "HW_AK": "AKEXAMPLE",
    "HW_SK": "sk-of-huawei",
}


def said(secret: SecretStr | None) -> str:
    assert secret is not None
    return secret.get_secret_value()


def load(**changes: str) -> Settings:
    return load_settings({**NEEDED, **changes}, None)


def problems(**changes: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(**changes)
    return caught.value.problems


def test_seven_values_are_enough_and_the_rest_has_the_documented_defaults() -> None:
    settings = load()
    assert settings.oss_region == "cn-hangzhou"
    assert (settings.batch_keys, settings.linger_ms, settings.pollers) == (10, 20, 4)
    assert (settings.max_in_flight, settings.max_deliveries) == (4000, 20)
    assert (settings.record_layout, settings.key_encoding) == ("object", "auto")
    assert (settings.request_timeout_seconds, settings.oms_max_rps) == (30, None)
    assert (settings.admin_host, settings.admin_port) == ("127.0.0.1", 8080)
    assert settings.shutdown_grace_seconds == 45
    assert (settings.log_format, settings.log_level) == ("auto", "info")
    assert settings.access_key_id is None
    assert settings.access_key_secret is None
    assert settings.security_token is None
    assert settings.mns_dead_letter_queue is None
    assert settings.hw_security_token is None
    assert settings.warnings == ()
    assert settings.secret_files == {}


def test_importing_the_module_reads_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RELAY_NONSENSE=1\n")
    subprocess.run(
        [sys.executable, "-c", "import worker.settings"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "RELAY_NONSENSE": "1"},
        check=True,
    )


def test_a_folder_with_a_settings_module_of_its_own_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "settings.py").write_text("raise RuntimeError('not ours')\n")
    subprocess.run(
        [sys.executable, "-m", "worker", "--version"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
    )


def test_the_process_environment_is_the_default_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    assert load_settings().mns_queue == "oss-events"


def test_settings_are_frozen_and_so_is_the_list_of_files(tmp_path: Path) -> None:
    file = tmp_path / "sk"
    file.write_text("from-file\n")
    environ = {name: value for name, value in NEEDED.items() if name != "HW_SK"}
    settings = load_settings({**environ, "HW_SK_FILE": str(file)}, None)
    with pytest.raises(ValidationError):
        settings.pollers = 9
    with pytest.raises(TypeError):
        settings.secret_files["HW_AK"] = file  # type: ignore[index]


def test_the_environment_beats_files_and_files_beat_dotenv(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of-file\r\n")
    dotenv = tmp_path / ".env"
    dotenv.write_text(
        "HW_AK=of-dotenv\nHW_SK=of-dotenv\nRELAY_POLLERS=7\nMNS_QUEUE_FILE=/nowhere\n"
        "ALIBABA_CLOUD_ACCESS_KEY_ID=id\nALIBABA_CLOUD_ACCESS_KEY_SECRET='of-${HOME}-dotenv'\n"
    )
    environ = {name: value for name, value in NEEDED.items() if name != "HW_SK"}
    settings = load_settings({**environ, "HW_SK_FILE": str(secret)}, dotenv)
    assert said(settings.hw_ak) == NEEDED["HW_AK"]
    assert said(settings.hw_sk) == "of-file"
    assert settings.access_key_secret is not None
    assert settings.access_key_secret.get_secret_value() == "of-${HOME}-dotenv"
    assert settings.pollers == 7
    assert settings.mns_queue == NEEDED["MNS_QUEUE"]
    assert settings.secret_files == {"HW_SK": secret}


def test_every_name_can_come_from_a_file(tmp_path: Path) -> None:
    environ = {}
    for name, value in {**NEEDED, "RELAY_POLLERS": "9"}.items():
        (tmp_path / name).write_text(f"{value}\n")
        environ[f"{name}_FILE"] = str(tmp_path / name)
    settings = load_settings(environ, None)
    assert settings.pollers == 9
    assert set(settings.secret_files) == {*NEEDED, "RELAY_POLLERS"}


def test_a_name_and_its_file_exclude_each_other() -> None:
    (problem,) = problems(HW_SK_FILE="/run/secrets/sk")
    assert problem == "HW_SK is set, and HW_SK_FILE too; accepted: one of the two"


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda _: None, "is missing"),
        (lambda path: path.write_text("\n"), "is empty"),
        (lambda path: path.mkdir(), "can't be opened"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not UTF-8 text"),
    ],
)
def test_a_file_without_a_value_is_named(make: Any, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "token"
    make(path)
    (problem,) = problems(HW_SECURITY_TOKEN_FILE=str(path))
    assert problem.startswith("HW_SECURITY_TOKEN ")
    assert str(path) in problem
    assert wrong in problem


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda path: path.mkdir(), "Is a directory"),
        (lambda path: path.write_bytes("HW_AK=s3cr3t".encode("utf-16")), "is not UTF-8 text"),
        (lambda path: path.symlink_to(path), "can't be opened"),
    ],
)
def test_a_dotenv_that_cannot_be_read_is_all_that_is_told(
    make: Any, wrong: str, tmp_path: Path
) -> None:
    make(tmp_path / ".env")
    with pytest.raises(SettingsError) as caught:
        load_settings({"RELAY_POLLERS": "0"}, tmp_path / ".env")
    (problem,) = caught.value.problems
    assert problem.startswith(".env can't be used")
    assert wrong in problem
    assert str(tmp_path / ".env") in problem
    assert "s3cr3t" not in f"{caught.value}"


def test_a_missing_dotenv_is_no_problem(tmp_path: Path) -> None:
    assert load_settings(NEEDED, tmp_path / "missing") == load()


def dotenv_problems(tmp_path: Path, text: str, **environ: str) -> tuple[str, ...]:
    file = tmp_path / ".env"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings({**NEEDED, **environ}, file)
    assert "s3cr3t" not in str(caught.value)
    return caught.value.problems


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("RELAY_POLLERS=7\nHW_SK s3cr3t\n", "line 2 of"),
        ("# all\n\n\nHW_SK: s3cr3t", "line 4 of"),
        ("s3cr3t\r\nA=1\r\nexport\r\nexport s3cr3t\r\n", "lines 1, 3, 4 of"),
        ("A='one\ntwo'\n=s3cr3t\n", "line 3 of"),
        ("A='s3cr3t\nB=1\n", "line 1 of"),
        ("A='s3cr3t' s3cr3t\n", "line 1 of"),
        ("s3cr3t\n" * 9, "lines 1, 2, 3, 4, 5 and 4 more of"),
    ],
)
def test_a_line_that_assigns_nothing_is_told_by_its_number(
    tmp_path: Path, text: str, where: str
) -> None:
    first, second = dotenv_problems(tmp_path, text, RELAY_LINGER_MS="-1")
    assert first.startswith(".env has no assignment in ")
    assert f"{where} {tmp_path / '.env'}; accepted: NAME=value" in first
    assert second.startswith("RELAY_LINGER_MS")


def test_comments_blank_lines_exports_and_values_of_several_lines_are_fine(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "\ufeff# a comment\n\n  \t\nexport RELAY_POLLERS=7 # why\n  # more\nOTHER='a\nb = c\n'\n"
        'RELAY_LINGER_MS = "30"\nEMPTY=\nALSO_EMPTY= # nothing\n\n'
    )
    settings = load_settings(NEEDED, file)
    assert (settings.pollers, settings.linger_ms) == (7, 30)


ALIBABA = "ALIBABA_CLOUD_ACCESS_KEY_"


@pytest.mark.parametrize(
    ("environ", "dotenv", "torn", "first"),
    [
        ({f"{ALIBABA}ID": "id"}, f"{ALIBABA}SECRET=s3cr3t", f"{ALIBABA}SECRET", f"{ALIBABA}ID"),
        ({f"{ALIBABA}SECRET": "s3cr3t"}, f"{ALIBABA}ID=id", f"{ALIBABA}SECRET", f"{ALIBABA}ID"),
        (
            {f"{ALIBABA}ID": "id", f"{ALIBABA}SECRET": "sec"},
            "ALIBABA_CLOUD_SECURITY_TOKEN=s3cr3t",
            "ALIBABA_CLOUD_SECURITY_TOKEN",
            f"{ALIBABA}ID",
        ),
        ({"HW_SK": ""}, "HW_SK=s3cr3t", "HW_SK", "HW_AK"),
        ({}, "HW_SECURITY_TOKEN=s3cr3t", "HW_SECURITY_TOKEN", "HW_AK"),
        (
            {"HW_AK": "", "HW_SK": "", "HUAWEICLOUD_SDK_AK": "theirs"},
            "HUAWEICLOUD_SDK_SK=s3cr3t",
            "HW_SK",
            "HW_AK",
        ),
    ],
)
def test_a_key_torn_between_two_places_is_refused(
    tmp_path: Path, environ: dict[str, str], dotenv: str, torn: str, first: str
) -> None:
    (problem,) = dotenv_problems(tmp_path, f"{dotenv}\n", **environ)
    assert problem.startswith(f"{torn} comes from ")
    assert f"but {first} from " in problem
    assert "accepted: all parts of one key from one place" in problem


def test_a_file_of_a_secret_in_dotenv_does_not_go_with_an_id_of_the_environment(
    tmp_path: Path,
) -> None:
    (tmp_path / "sk").write_text("s3cr3t")
    (problem,) = dotenv_problems(tmp_path, f"HW_SK_FILE={tmp_path / 'sk'}\n", HW_SK="")
    assert "HW_SK comes from .env, but HW_AK from the environment" in problem


def test_a_value_and_a_file_named_in_one_place_make_one_key(tmp_path: Path) -> None:
    (tmp_path / "sk").write_text("of-file")
    (tmp_path / ".env").write_text(
        f"{ALIBABA}ID=id\n{ALIBABA}SECRET_FILE={tmp_path / 'sk'}\nHW_AK=other\nHW_SK=other\n"
    )
    environ = {**NEEDED, "HW_SK": "", "HW_SK_FILE": str(tmp_path / "sk")}
    settings = load_settings(environ, tmp_path / ".env")
    assert said(settings.hw_ak) == NEEDED["HW_AK"]
    assert said(settings.hw_sk) == "of-file"
    assert settings.access_key_secret is not None
    assert settings.access_key_secret.get_secret_value() == "of-file"


def test_all_problems_come_at_once_and_in_the_order_of_the_table(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"RELAY_POLLERS": "0", "RELAY_LINGER": "5", "HW_SK": " "}, tmp_path / "no")
    names = [problem.split()[0] for problem in caught.value.problems]
    assert names == [
        *("MNS_ENDPOINT", "MNS_QUEUE", "OSS_ENDPOINT", "LOG_BUCKET", "SYNC_URL"),
        *("HW_AK", "HW_SK", "RELAY_POLLERS", "RELAY_LINGER"),
    ]
    assert all("; accepted: " in problem for problem in caught.value.problems)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    assert "RELAY_POLLERS ('0') can't be used; accepted: 1..64" in caught.value.problems


def test_an_unknown_relay_name_is_refused_with_the_nearest_match() -> None:
    assert problems(RELAY_BACTH_KEYS="5") == (
        "RELAY_BACTH_KEYS is no setting; accepted: RELAY_BATCH_KEYS comes nearest",
    )
    assert "RELAY_LOG_LEVEL" in problems(RELAY_LOGLEVEL_FILE="/x")[0]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("OSS_REGON", "OSS_REGION"),
        ("MNS_DEADLETTER_QUEUE", "MNS_DEAD_LETTER_QUEUE"),
        ("OBS_BUKET", "OBS_BUCKET"),
        ("HW_SECURITYTOKEN_FILE", "HW_SECURITY_TOKEN"),
        ("ALIBABA_CLOUD_ACCES_KEY_SECRET", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
    ],
)
def test_a_misspelt_name_without_our_prefix_is_refused_too(name: str, nearest: str) -> None:
    assert problems(**{name: "x"}) == (f"{name} is no setting; accepted: {nearest} comes nearest",)
    assert load(**{name: ""}) == load()


def test_names_of_other_programs_are_left_alone() -> None:
    foreign = [
        *("OSS_BUCKET", "OSS_ACCESS_KEY_ID", "MNS_TOPIC", "LOG_LEVEL", "LOG_FILE", "SYNC_INTERVAL"),
        *("OBS_ACCESS_KEY", "HW_REGION", "HW_PROJECT_ID", "HUAWEICLOUD_SDK_PROJECT_ID"),
        *("ALIBABA_CLOUD_ROLE_ARN", "ALIBABA_CLOUD_OIDC_TOKEN_FILE", "ALIBABA_CLOUD_PROFILE"),
        *("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "ALIBABA_CLOUD_ROLE_SESSION_NAME"),
        *(
            "ALIBABA_CLOUD_ECS_METADATA",
            "ALIBABA_CLOUD_CREDENTIALS_FILE",
            "ALIBABA_CLOUD_REGION_ID",
        ),
    ]
    assert load(**dict.fromkeys(foreign, "x")) == load()


@pytest.mark.parametrize("name", ["LOG_BUCKET", "MNS_QUEUE", "OSS_REGION", "RELAY_ADMIN_HOST"])
@pytest.mark.parametrize(
    "secret",
    [
        "kD8sJ2mQx0LrV5tYbN1zPwE7aGhUfC/3o+9R",
        "LTAI5tExampleKey",
        "ZXCVBNMASDFGHJKL1234",
        "0123456789abcdef0123456789abcdef01_",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_printed(name: str, secret: str) -> None:
    found = " ".join(problems(**{name: f"{secret} !"}))
    assert name in found
    assert secret not in found


def test_a_pipe_as_a_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (problem,) = problems(HW_SK="", HW_SK_FILE=str(pipe))
    assert problem.startswith(f"HW_SK can't be read, {pipe} is no regular file; accepted:")
    with pytest.raises(SettingsError, match="is no regular file"):
        load_settings(NEEDED, pipe)


def test_a_file_of_another_user_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, who may run this, may read anything."""
    (tmp_path / ".env").write_text("A=b\n")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(environment, "_at_once", refuse)
    with pytest.raises(SettingsError, match="may not be read by this user: run the command as"):
        load_settings(NEEDED, tmp_path / ".env")


def test_what_kubernetes_injects_for_a_service_named_relay_is_ignored() -> None:
    injected = {
        "RELAY_SERVICE_HOST": "10.0.0.1",
        "RELAY_SERVICE_PORT": "80",
        "RELAY_SERVICE_PORT_HTTP": "80",
        "RELAY_PORT": "tcp://10.0.0.1:80",
        "RELAY_PORT_80_TCP": "tcp://10.0.0.1:80",
        "RELAY_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    assert load(**injected) == load()


def test_empty_values_count_as_not_set() -> None:
    assert load(RELAY_POLLERS="", RELAY_OMS_MAX_RPS="  ", HW_SK_FILE="", RELAY_ODD="") == load()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("RELAY_BATCH_KEYS", ("1", "100"), ("0", "101", "ten", "1.5")),
        ("RELAY_LINGER_MS", ("0", "10000"), ("-1", "10001")),
        ("RELAY_POLLERS", ("1", "64"), ("0", "65")),
        ("RELAY_MAX_IN_FLIGHT", ("16", "4000"), ("15", "4001")),
        ("RELAY_RECORD_LAYOUT", ("object", " LOG "), ("file",)),
        ("RELAY_REQUEST_TIMEOUT_SECONDS", ("1", "300", "2.5"), ("0", "301", "nan", "inf")),
        ("RELAY_OMS_MAX_RPS", ("0.01", "200", "10000"), ("0", "-1", "inf", "nan", "1e-9", "1e12")),
        ("RELAY_MAX_DELIVERIES", ("2", "1000"), ("1",)),
        ("RELAY_KEY_ENCODING", ("raw", "url", "Auto"), ("base64",)),
        ("RELAY_ADMIN_HOST", ("0.0.0.0", "::", "relay-0"), ("a b", "http://x")),
        ("RELAY_ADMIN_PORT", ("0", "65535"), ("-1", "65536")),
        ("RELAY_SHUTDOWN_GRACE_SECONDS", ("1", "3600"), ("0", "3601")),
        ("RELAY_LOG_FORMAT", ("auto", "console", "JSON"), ("xml",)),
        ("RELAY_LOG_LEVEL", ("debug", "INFO", "warning", "error"), ("trace",)),
        ("MNS_QUEUE", ("q", "1-a", "Q" * 120), ("-q", "q_1", "Q" * 121, "q/w")),
        ("MNS_DEAD_LETTER_QUEUE", ("oss-events-dead",), ("oss-events", "a.b")),
        ("LOG_BUCKET", ("abc", "a-1", "a" * 63), ("ab", "Abc", "-ab", "ab-", "a" * 64, "a.bc")),
    ],
)
def test_each_range_is_kept(name: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    for value in good:
        load(**{name: value})
    for value in bad:
        (problem,) = problems(**{name: value})
        assert problem.startswith(f"{name} ({value!r})"[:80])


@pytest.mark.parametrize(
    "url",
    [
        TASK_URL,
        f"  {TASK_URL}/ ",
        f"{TASK_URL}?a=1#b",
        TASK_URL.removeprefix("https://"),
        TASK_URL.replace("oms.cn-north-4", "OMS.CN-NORTH-4"),
        TASK_URL.replace("https", "HTTPS").replace(".com/", ".com:443/"),
    ],
)
def test_the_task_url_is_read_however_it_was_copied(url: str) -> None:
    assert load(SYNC_URL=url).sync_task == SyncTask(
        url=TASK_URL,
        endpoint="https://oms.cn-north-4.myhuaweicloud.com",
        region="cn-north-4",
        project_id="0a1b",
        task_id="c2d3-4",
    )


def test_a_task_on_loopback_has_no_region() -> None:
    task = load(SYNC_URL="http://127.0.0.1:8333/v2/p/sync-tasks/t/events").sync_task
    assert (task.region, task.endpoint) == ("", "http://127.0.0.1:8333")


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("https://oms.cn-north-4.myhuaweicloud.com/v2/p/sync-tasks/t", "is not the request URL"),
        ("https://oms.cn-north-4.myhuaweicloud.com", "is not the request URL"),
        ("https://h/v2/p/sync-tasks/a%2Fb/events", "is not the request URL"),
        (TASK_URL.replace("https", "http"), "is plain http"),
        (TASK_URL.replace("https://", "https://me:pass@"), "carries user information"),
        (TASK_URL.replace("https", "ftp"), "is not an https address"),
        ("https:///v2/p/sync-tasks/t/events", "is not an https address"),
        ("https://[::1/v2/p/sync-tasks/t/events", "is not a URL"),
        ("https://h:99999/v2/p/sync-tasks/t/events", "is not a URL"),
        ("https://h/v2/p\t/sync-tasks/t/events", "holds blanks"),
    ],
)
def test_a_wrong_task_url_is_told_the_shape(url: str, wrong: str) -> None:
    (problem,) = problems(SYNC_URL=url)
    assert wrong in problem
    assert "/v2/<project id>/sync-tasks/<task id>/events" in problem
    assert "pass" not in problem


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("oss-cn-hangzhou.aliyuncs.com", "cn-hangzhou"),
        ("https://oss-cn-hangzhou-internal.aliyuncs.com/", "cn-hangzhou"),
        ("https://s3.oss-ap-southeast-1.aliyuncs.com", "ap-southeast-1"),
        ("cn-hangzhou.oss.aliyuncs.com", "cn-hangzhou"),
        ("oss-cn-hangzhou-finance.aliyuncs.com", "cn-hangzhou-finance"),
        ("oss-cn-hzfinance.aliyuncs.com", "cn-hangzhou-finance"),
        ("oss-cn-hzfinance-internal.aliyuncs.com", "cn-hangzhou-finance"),
        ("oss-cn-hzjbp-a-internal.aliyuncs.com", "cn-hangzhou-finance"),
        ("oss-cn-hzjbp-b-internal.aliyuncs.com", "cn-hangzhou-finance"),
        ("cn-hangzhou-finance.oss.aliyuncs.com", "cn-hangzhou-finance"),
        ("oss-cn-shanghai-finance-1-internal.aliyuncs.com", "cn-shanghai-finance-1"),
        ("oss-cn-shanghai-finance-1-pub.aliyuncs.com", "cn-shanghai-finance-1"),
        ("oss-cn-shanghai-finance-1-pub-internal.aliyuncs.com", "cn-shanghai-finance-1"),
        ("cn-shanghai-finance.oss.aliyuncs.com", "cn-shanghai-finance-1"),
        ("oss-cn-shenzhen-finance-1-internal.aliyuncs.com", "cn-shenzhen-finance-1"),
        ("oss-cn-szfinance.aliyuncs.com", "cn-shenzhen-finance-1"),
        ("oss-cn-szfinance-internal.aliyuncs.com", "cn-shenzhen-finance-1"),
        ("cn-shenzhen-finance.oss.aliyuncs.com", "cn-shenzhen-finance-1"),
        ("oss-cn-beijing-finance-1-pub-internal.aliyuncs.com", "cn-beijing-finance-1"),
        ("oss-cn-north-2-gov-1.aliyuncs.com", "cn-north-2-gov-1"),
        ("oss-cn-north-2-gov-1-internal.aliyuncs.com", "cn-north-2-gov-1"),
        ("cn-north-2-gov-1.oss.aliyuncs.com", "cn-north-2-gov-1"),
    ],
)
def test_the_region_is_read_off_the_endpoint(endpoint: str, region: str) -> None:
    assert load(OSS_ENDPOINT=endpoint).oss_region == region
    assert load(OSS_ENDPOINT=endpoint, OSS_REGION="cn-other-1").oss_region == "cn-other-1"


@pytest.mark.parametrize(
    "endpoint",
    [
        "my-bucket.oss-cn-hangzhou.aliyuncs.com",
        "https://my-bucket.oss-cn-hzjbp-a-internal.aliyuncs.com",
        "my-bucket.oss-cn-shanghai-finance-1-pub.aliyuncs.com",
        "my-bucket.s3.oss-cn-hangzhou.aliyuncs.com",
        "my-bucket.cn-hangzhou.oss.aliyuncs.com",
        "my-bucket.oss-accelerate.aliyuncs.com",
    ],
)
def test_an_endpoint_that_holds_the_bucket_is_refused_with_advice(endpoint: str) -> None:
    problem = problems(OSS_ENDPOINT=endpoint)[0]
    assert problem.startswith("OSS_ENDPOINT ")
    assert "begins with a bucket: leave out" in problem


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:9000", "https://10.1.2.3", "oss-accelerate.aliyuncs.com"]
)
def test_the_region_is_required_where_the_endpoint_does_not_tell_it(endpoint: str) -> None:
    assert "OSS_ENDPOINT does not name it" in problems(OSS_ENDPOINT=endpoint)[0]
    assert load(OSS_ENDPOINT=endpoint, OSS_REGION="oss-cn-beijing").oss_region == "cn-beijing"
    assert "OSS_REGION ('x')" in problems(OSS_ENDPOINT=endpoint, OSS_REGION="x")[0]


@pytest.mark.parametrize(
    ("endpoint", "normal"),
    [
        ("LOCALHOST:9000", "https://localhost:9000"),
        ("http://localhost:80/", "http://localhost"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("https://OSS-CN-hangzhou.aliyuncs.com:443", "https://oss-cn-hangzhou.aliyuncs.com"),
    ],
)
def test_endpoints_come_in_one_form(endpoint: str, normal: str) -> None:
    assert load(OSS_ENDPOINT=endpoint, OSS_REGION="cn-hangzhou").oss_endpoint == normal


@pytest.mark.parametrize(
    ("endpoint", "wrong"),
    [
        ("http://oss-cn-hangzhou.aliyuncs.com", "is plain http"),
        ("https://oss-cn-hangzhou.aliyuncs.com/logs", "goes on after the host"),
        ("https://oss-cn-hangzhou.aliyuncs.com?x", "goes on after the host"),
        ("https://me@oss-cn-hangzhou.aliyuncs.com", "carries user information"),
    ],
)
def test_a_wrong_oss_endpoint_is_refused(endpoint: str, wrong: str) -> None:
    assert wrong in problems(OSS_ENDPOINT=endpoint)[0]


@pytest.mark.parametrize(
    "host", ["a..b", f"{'x' * 64}.example", ".".join(["x" * 63] * 4), "b..aliyuncs.com"]
)
@pytest.mark.parametrize("name", ["MNS_ENDPOINT", "OSS_ENDPOINT", "SYNC_URL", "RELAY_ADMIN_HOST"])
def test_a_host_that_cannot_be_looked_up_is_refused(name: str, host: str) -> None:
    value = {
        "RELAY_ADMIN_HOST": host,
        "SYNC_URL": f"https://{host}/v2/p/sync-tasks/t/events",
    }.get(name, f"https://{host}")
    (problem,) = problems(**{name: value, "OSS_REGION": "cn-hangzhou"})
    assert problem.startswith(f"{name} ")
    assert "has a host that no name service takes" in problem


def test_the_longest_host_and_label_are_accepted() -> None:
    host = ".".join([*["x" * 63] * 3, "y" * 61])
    assert len(host) == 253
    assert load(MNS_ENDPOINT=f"https://{host}").mns_endpoint == f"https://{host}"


CREDENTIALS = (
    *("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "HW_AK", "HW_SK"),
    *("ALIBABA_CLOUD_SECURITY_TOKEN", "HW_SECURITY_TOKEN", "RELAY_CONSOLE_TOKEN"),
)


@pytest.mark.parametrize("quote", ['"', "'", "`"])
def test_a_credential_in_quotes_is_refused_and_not_shown(quote: str) -> None:
    for value in (f"{quote}s3cr3t-of-16-chars{quote}", f"{quote}s3cr3t-of-16-chars"):
        found = problems(**dict.fromkeys(CREDENTIALS, value))
        assert {each.split()[0] for each in found} == set(CREDENTIALS)
        assert all("begins or ends with a quote: leave the quotes out" in each for each in found)
        assert "s3cr3t" not in str(found)


@pytest.mark.parametrize(
    "value",
    [
        *("...", "***", "xxx", "XXXXXXXXXXXXXXXXXXXX", "<your-access-key>", "<access_key_id>"),
        *("changeme", "CHANGE_ME", "change-me", "replace-me", "todo", "your-secret", "your_ak"),
        *("yourAccessKeyId", "yourAccessKeySecret", "yourSecurityToken", "my-access-key-secret"),
        *("$HW_SK", "${HW_SK}", "%HW_SK%", "{{hw_sk}}", "HW_AK", "ALIBABA_CLOUD_ACCESS_KEY_ID"),
        *("YOUR_HUAWEI_AK", "none", "null", "placeholder", "[secret]"),
    ],
)
def test_a_placeholder_is_refused_and_not_shown(value: str) -> None:
    found = problems(**dict.fromkeys(CREDENTIALS[:-1], value))
    assert {each.split()[0] for each in found} == set(CREDENTIALS[:-1])
    assert all("is a placeholder: put the real value in its place" in each for each in found)
    assert not any(f"({value!r})" in each for each in found)


@pytest.mark.parametrize("file", ["README.md", "docs/setup.md", "docs/settings.md"])
def test_what_the_documentation_shows_as_a_credential_is_refused(file: str) -> None:
    text = (ROOT / file).read_text()
    shown = dict(re.findall(r"^((?:HW|ALIBABA_CLOUD)_\w+)=(\S+)$", text, re.MULTILINE))
    for name, value in shown.items():
        if not name.endswith("_FILE"):
            assert "is a placeholder" in problems(**{name: value})[0]


@pytest.mark.parametrize(
    "value", ["LTAI5tQnKxxxExampleKey1", "aB/c+d=", "your5tQnKxKey", "a'b\"c", "x0x0", "key<1>"]
)
def test_what_may_be_a_credential_is_accepted(value: str) -> None:
    assert said(load(HW_SK=value).hw_sk) == value


def test_the_proxies_that_calls_go_by_are_told_without_their_passwords() -> None:
    assert load().proxies_used == ()
    one = load(https_proxy="http://u:s3cr3t@proxy.example:3128")
    assert one.proxies_used == ("proxy.example:3128",)
    assert "s3cr3t" not in f"{one!r} {one.model_dump_json()}"
    two = load(HTTPS_PROXY="a:1", HTTP_PROXY="b:2", MNS_ENDPOINT="http://123.mns.x.aliyuncs.com")
    assert two.proxies_used == ("b:2", "a:1")
    here = load(HTTP_PROXY="a:1", OSS_ENDPOINT="http://127.0.0.1:9", OSS_REGION="cn-hangzhou")
    assert here.proxies_used == ()
    excepted = load(HTTPS_PROXY="a:1", NO_PROXY="relay-logs.oss-cn-hangzhou.aliyuncs.com")
    assert excepted.proxies_used == ("a:1",)
    assert load(HTTPS_PROXY="a:1", NO_PROXY="aliyuncs.com,.myhuaweicloud.com").proxies_used == ()


def test_a_proxy_that_cannot_be_used_is_one_problem_of_several(tmp_path: Path) -> None:
    told = dotenv_problems(
        tmp_path, "http_proxy=https://u:s3cr3t@h\n", HTTPS_PROXY="//", RELAY_POLLERS="0"
    )
    assert [each.split()[0] for each in told] == ["RELAY_POLLERS", "HTTPS_PROXY", "http_proxy"]
    assert told[1] == "HTTPS_PROXY is no host; accepted: `http://[user:password@]host[:port]`"
    assert "is not plain http itself" in told[2]


def test_warnings_are_sentences_about_what_is_accepted_nevertheless() -> None:
    internal = "http://123.mns.cn-hangzhou-internal.aliyuncs.com"
    assert "plain http" in load(MNS_ENDPOINT=internal).warnings[0]
    assert load(MNS_ENDPOINT="http://127.0.0.1:9000").warnings == ()
    assert "documented maximum" in load(RELAY_BATCH_KEYS="11").warnings[0]
    assert "OSS_ENDPOINT names cn-hangzhou" in load(OSS_REGION="cn-beijing").warnings[0]
    assert "other networks" in load(RELAY_ADMIN_HOST="8.8.8.8").warnings[0]
    assert "other networks" in load(RELAY_ADMIN_HOST="relay.example").warnings[0]
    assert load(RELAY_ADMIN_HOST="8.8.8.8", RELAY_ADMIN_PORT="0").warnings == ()


@pytest.mark.parametrize(
    "endpoint",
    ["https://1.mns.cn-hangzhou.aliyuncs.com", "https://cn-hangzhou.mns.aliyuncs.com"],
)
def test_an_mns_host_may_go_without_the_account(endpoint: str) -> None:
    assert load(MNS_ENDPOINT=endpoint).mns_endpoint == endpoint
    assert load(MNS_ENDPOINT=endpoint.removeprefix("https://")).mns_endpoint == endpoint


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.2.3.4", "localhost", "::1"])
def test_no_warning_for_an_admin_server_on_loopback_or_in_a_pod(host: str) -> None:
    assert load(RELAY_ADMIN_HOST=host).warnings == ()


def test_the_alibaba_pair_comes_together() -> None:
    pair = {"ALIBABA_CLOUD_ACCESS_KEY_ID": "id", "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "secret"}
    assert load(**pair, ALIBABA_CLOUD_SECURITY_TOKEN="token").security_token is not None
    for name, value in pair.items():
        (problem,) = problems(**{name: value})
        assert problem.startswith("ALIBABA_CLOUD_ACCESS_KEY_SECRET is ")
    assert "without ALIBABA" in problems(ALIBABA_CLOUD_SECURITY_TOKEN="token")[0]
    bad = problems(ALIBABA_CLOUD_ACCESS_KEY_ID="i d", ALIBABA_CLOUD_ACCESS_KEY_SECRET="secret")
    assert [problem.split()[0] for problem in bad] == ["ALIBABA_CLOUD_ACCESS_KEY_ID"]


def test_huawei_credentials_come_under_either_set_of_names_but_never_mixed() -> None:
    rest = {name: value for name, value in NEEDED.items() if not name.startswith("HW_")}
    theirs = {
        "HUAWEICLOUD_SDK_AK": "their-ak",
        "HUAWEICLOUD_SDK_SK": "their-sk",
        "HUAWEICLOUD_SDK_SECURITY_TOKEN": "their-token",
    }
    settings = load_settings({**rest, **theirs}, None)
    assert said(settings.hw_ak) == "their-ak"
    assert settings.hw_security_token is not None
    both = load(**theirs)
    assert said(both.hw_sk) == NEEDED["HW_SK"]
    assert both.hw_security_token is None
    with pytest.raises(SettingsError, match="HW_SK is not set"):
        load_settings({**rest, **theirs, "HW_AK": "ours"}, None)


def test_no_secret_is_shown_anywhere(tmp_path: Path) -> None:
    names = (
        *("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET", "HW_AK", "HW_SK"),
        *("ALIBABA_CLOUD_SECURITY_TOKEN", "HW_SECURITY_TOKEN"),
    )
    settings = load(**dict.fromkeys(names, "s3cr3t"))
    assert "s3cr3t" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    with pytest.raises(SettingsError) as caught:
        load(**dict.fromkeys(names, "s3cr3t with blank"))
    assert len(caught.value.problems) == 6
    assert "s3cr3t" not in f"{caught.value!r} {caught.value}"
    assert caught.value.__cause__ is caught.value.__context__ is None
    file = tmp_path / "token"
    file.write_text("s3cr3t with blank")
    (problem,) = problems(HW_SECURITY_TOKEN_FILE=str(file))
    assert f"(read from {file})" in problem
    assert "s3cr3t" not in problem


def test_a_long_value_is_shown_in_part() -> None:
    assert len(problems(MNS_QUEUE="q" * 10_000)[0]) < 250


def test_settings_can_be_made_in_code_by_attribute_names() -> None:
    by_name = {name.lower(): value for name, value in NEEDED.items()}
    made = Settings(**by_name, batch_keys=3)  # type: ignore[arg-type]
    assert made.batch_keys == 3
    assert made.sync_task.task_id == "c2d3-4"


def test_every_setting_is_described_with_what_it_accepts() -> None:
    for line in settings_table().splitlines():
        assert all(cell.strip() for cell in line.strip("|").split("|"))
        assert line.count("|") == 5


def test_the_documented_table_is_current() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    _, _, rest = text.partition("<!-- settings -->\n")
    table, end, _ = rest.partition("<!-- /settings -->")
    assert end
    assert table == settings_table(), "paste the output of settings.settings_table()"
