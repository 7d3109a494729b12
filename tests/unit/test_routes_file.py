from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from worker.config.environment import Layer
from worker.config.routes_file import RoutesFile, read_routes
from worker.errors import Fatal
from worker.settings import Settings, SettingsError, load_settings

SHARED = {
    "MNS_ENDPOINT": "https://123.mns.cn-hangzhou.aliyuncs.com",
    "MNS_QUEUE": "oss-events",
    "OSS_ENDPOINT": "https://oss-cn-hangzhou.aliyuncs.com",
    "LOG_BUCKET": "relay-logs",
    "HW_AK": "AKEXAMPLE",
    "HW_SK": "sk-of-huawei",
}
URL = "https://oms.cn-north-4.myhuaweicloud.com/v2/0a1b/sync-tasks/{}/events"
THREE = f"""\
[films]
bucket = "films-src"
sync_url = "{URL.format("task-1")}"

[stills]   # the same bucket, another task
bucket = "films-src"
prefix = "stills/"
sync_url = "{URL.format("task-2")}"
obs_bucket = "stills-copy"

[music]
bucket = "music-src"
sync_url = "{URL.format("task-3")}"
hw_ak_env = "MUSIC_AK"
hw_sk_file = "SECRETS/music-sk"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "music-sk").write_text("sk-of-music\n")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    path = folder / "routes.toml"
    path.write_text(text.replace("SECRETS", str(folder)))
    return path


def load(folder: Path, text: str = THREE, **changes: str) -> Settings:
    environ = {**SHARED, "MUSIC_AK": "AKMUSIC", "RELAY_ROUTES": str(written(folder, text))}
    return load_settings({**environ, **changes}, None)


def read(folder: Path, text: str) -> RoutesFile:
    return read_routes(written(folder, text), [Layer("the environment", {"MUSIC_AK": "AKMUSIC"})])


def said(secret: SecretStr | None) -> str:
    assert secret is not None
    return secret.get_secret_value()


def test_each_route_has_the_settings_with_its_own_in_their_place(folder: Path) -> None:
    films, stills, music = load(
        folder, OBS_ENDPOINT="https://obs.cn-north-4.myhuaweicloud.com"
    ).routes
    assert [each.route for each in (films, stills, music)] == ["films", "stills", "music"]
    assert (films.bucket, films.prefix, films.sync_task.task_id) == ("films-src", "", "task-1")
    assert (stills.bucket, stills.prefix, stills.obs_bucket) == (
        "films-src",
        "stills/",
        "stills-copy",
    )
    assert (said(films.hw_ak), said(films.hw_sk)) == ("AKEXAMPLE", "sk-of-huawei")
    assert (said(music.hw_ak), said(music.hw_sk)) == ("AKMUSIC", "sk-of-music")
    assert music.secret_files["HW_SK"] == folder / "music-sk"
    assert all(each.log_bucket == "relay-logs" for each in (films, stills, music))
    assert films.obs_endpoint == stills.obs_endpoint == "https://obs.cn-north-4.myhuaweicloud.com"


def test_a_route_with_a_key_of_its_own_takes_no_part_of_another(folder: Path) -> None:
    music = load(folder, HW_SECURITY_TOKEN="of-all", OBS_AK="ak", OBS_SK="sk").of_route("music")
    assert music.hw_security_token is None
    assert music.obs_ak is music.obs_sk is None
    text = THREE.replace('hw_sk_file = "SECRETS/music-sk"', "")
    with pytest.raises(SettingsError, match=r"line 11\): \[music\] has no hw_sk"):
        load(folder, text)


def test_the_huawei_key_may_be_left_to_the_routes(folder: Path) -> None:
    text = THREE[THREE.index("[music]") :]
    assert said(load(folder, text, HW_AK="", HW_SK="").of_route("music").hw_ak) == "AKMUSIC"
    with pytest.raises(SettingsError) as raised:
        load(folder, HW_AK="", HW_SK="")
    assert len(raised.value.problems) == 4
    assert all("line 1)" in each or "line 5)" in each for each in raised.value.problems)


def test_without_a_choice_there_is_no_task(folder: Path) -> None:
    settings = load(folder)
    with pytest.raises(Fatal, match=r"a route has to be chosen.*films, stills, music"):
        _ = settings.sync_task
    with pytest.raises(Fatal, match=r"no route 'song'.*films, stills, music"):
        settings.of_route("song")
    assert settings.home == "queue.oss-events"
    assert settings.of_route("films").home == "queue.oss-events"


def test_without_a_file_there_are_no_routes() -> None:
    settings = load_settings({**SHARED, "SYNC_URL": URL.format("task-1")}, None)
    assert settings.routes == ()
    assert settings.each_route == (settings,)
    assert settings.home == "task-1"
    with pytest.raises(Fatal, match="RELAY_ROUTES names no file"):
        settings.of_route("films")


WRONG = f"""\
[Films]
bucket = "films-src"
buket = "x"
sync_url = "http://oms.example/v2/0/sync-tasks/t/events"

[music]
bucket = "no bucket"
prefix = "/abs"
sync_url = "{URL.format("t")}"
hw_ak_env = "AK0123456789NOTSET"
hw_sk_file = "/nowhere/sk"
hw_security_token = "a-secret-value"

[unrouted]
bucket = "relay-logs"
sync_url = "{URL.format("t")}"

[empty]
"""


def test_everything_that_is_wrong_is_told_at_once_each_with_its_line_and_no_secret(
    folder: Path,
) -> None:
    with pytest.raises(SettingsError) as raised:
        load(folder, WRONG, SYNC_URL=URL.format("x"), OBS_BUCKET="copy", RELAY_POLERS="4")
    told = str(raised.value)
    for part in (
        "SYNC_URL is set, and RELAY_ROUTES too",
        "OBS_BUCKET is set, and RELAY_ROUTES too",
        "RELAY_POLERS is no setting",
        "line 1): [Films] can't be the name of a route",
        "line 3): [Films] buket is no key of a route; accepted: bucket comes nearest",
        "line 4): [Films] sync_url",
        "line 7): [music] bucket ('no bucket') has another form",
        "line 8): [music] prefix ('/abs') begins no name",
        "line 10): [music] hw_ak_env names a variable that is not set",
        "line 11): [music] hw_sk_file can't be read, /nowhere/sk is missing",
        "line 12): [music] hw_security_token holds a credential",
        "line 14): [unrouted] can't be the name of a route",
        "line 14): [unrouted] bucket is LOG_BUCKET",
        "line 16): [unrouted] sync_url names the task of [music] (line 6)",
        "line 18): [empty] bucket is not set",
        "line 18): [empty] sync_url is not set",
    ):
        assert part in told
    assert "a-secret-value" not in told
    assert "AK0123456789NOTSET" not in told


def test_two_routes_of_one_bucket_and_prefix_are_refused(folder: Path) -> None:
    text = THREE.replace('prefix = "stills/"', "").replace("task-2", "task-9")
    (problem,) = read(folder, text).problems
    assert "line 5): [stills] has the bucket and prefix of [films] (line 1)" in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "names no route"),
        ("[films\n", "is no TOML"),
        ('bucket = "films-src"\n', "line 1): 'bucket' stands outside of a route"),
        ('[films]\nbucket = 7\nsync_url = "x"\n', "line 2): [films] bucket is no text"),
        ("".join(f"[r{n}]\n" for n in range(101)), "names 101 routes; accepted: at most 100"),
    ],
)
def test_what_is_no_list_of_routes_is_said_to_be_none(
    folder: Path, text: str, problem: str
) -> None:
    assert problem in "\n".join(read(folder, text).problems)


def test_a_file_that_is_missing_is_one_problem(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"RELAY_ROUTES \(.*nowhere.toml\): the file is missing"
    ):
        load_settings({**SHARED, "RELAY_ROUTES": str(tmp_path / "nowhere.toml")}, None)


def test_no_secret_of_a_route_is_shown(folder: Path) -> None:
    shown = repr(load(folder))
    assert "sk-of-music" not in shown
    assert "AKMUSIC" not in shown


def test_the_example_of_the_documentation_is_a_file_of_routes(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "routes.md").read_text()
    block = text.partition("```toml\n")[2].partition("```")[0]
    found = read(tmp_path, block)
    # What it names is not on this machine.
    assert [each.partition("[music] ")[2].split()[0] for each in found.problems] == ["hw_sk_file"]
    assert [each.name for each in found.entries] == ["films", "films-new", "music"]
