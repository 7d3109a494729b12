from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from settings import Settings, SettingsError, SyncTask, load_settings, settings_table

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
    assert (settings.max_in_flight, settings.max_deliveries) == (1000, 20)
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
        [sys.executable, "-c", "import settings"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "RELAY_NONSENSE": "1"},
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
        "HW_AK=of-dotenv\nHW_SK=of-dotenv\nHW_SECURITY_TOKEN='of-${HOME}-dotenv'\nRELAY_POLLERS=7\n"
        "MNS_QUEUE_FILE=/nowhere\nBARE_NAME\n"
    )
    environ = {name: value for name, value in NEEDED.items() if name != "HW_SK"}
    settings = load_settings({**environ, "HW_SK_FILE": str(secret)}, dotenv)
    assert settings.hw_ak.get_secret_value() == NEEDED["HW_AK"]
    assert settings.hw_sk.get_secret_value() == "of-file"
    assert settings.hw_security_token is not None
    assert settings.hw_security_token.get_secret_value() == "of-${HOME}-dotenv"
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


def test_a_dotenv_that_cannot_be_read_is_a_problem_and_a_missing_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\.env can't be used"):
        load_settings(NEEDED, tmp_path)
    assert load_settings(NEEDED, tmp_path / "missing") == load()


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
        ("RELAY_OMS_MAX_RPS", ("0.5", "200"), ("0", "-1", "inf", "nan")),
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
        ("oss-cn-shenzhen-finance-1-internal.aliyuncs.com", "cn-shenzhen-finance-1"),
    ],
)
def test_the_region_is_read_off_the_endpoint(endpoint: str, region: str) -> None:
    assert load(OSS_ENDPOINT=endpoint).oss_region == region


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


def test_warnings_are_sentences_about_what_is_accepted_nevertheless() -> None:
    internal = "http://123.mns.cn-hangzhou-internal.aliyuncs.com"
    assert "plain http" in load(MNS_ENDPOINT=internal).warnings[0]
    assert load(MNS_ENDPOINT="http://127.0.0.1:9000").warnings == ()
    assert "documented maximum" in load(RELAY_BATCH_KEYS="11").warnings[0]
    assert "OSS_ENDPOINT names cn-hangzhou" in load(OSS_REGION="cn-beijing").warnings[0]
    assert "other networks" in load(RELAY_ADMIN_HOST="8.8.8.8").warnings[0]
    assert "other networks" in load(RELAY_ADMIN_HOST="relay.example").warnings[0]
    assert load(RELAY_ADMIN_HOST="8.8.8.8", RELAY_ADMIN_PORT="0").warnings == ()


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
    assert settings.hw_ak.get_secret_value() == "their-ak"
    assert settings.hw_security_token is not None
    both = load(**theirs)
    assert both.hw_sk.get_secret_value() == NEEDED["HW_SK"]
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
