from __future__ import annotations

import pytest

from worker.config.proxies import METADATA, Proxies, Proxy, find_proxies

WAY = Proxy("proxy.example", 3128)
BOTH = Proxies(WAY, WAY)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://proxy.example:3128", "proxy.example:3128"),
        ("HTTP://Proxy.Example/", "proxy.example:80"),
        ("proxy.example:3128", "proxy.example:3128"),
        ("http://10.1.2.3:8080", "10.1.2.3:8080"),
        ("http://[fd00::1]:8080", "[fd00::1]:8080"),
    ],
)
def test_a_proxy_is_read_however_it_is_written(text: str, shown: str) -> None:
    proxy = Proxy.parse(text)
    assert str(proxy) == shown
    assert proxy.url == proxy.secret_url == f"http://{shown}"
    assert proxy.headers == {}


def test_user_and_password_are_told_to_the_proxy_and_shown_nowhere() -> None:
    proxy = Proxy.parse("http://relay:p%40ss%3A@proxy.example:3128")
    assert proxy.headers == {"Proxy-Authorization": "Basic cmVsYXk6cEBzczo="}
    assert proxy.headers_of_request("http://mns.example/") == proxy.headers
    assert proxy.headers_of_request("https://mns.example/") == {}
    assert proxy.secret_url == "http://relay:p%40ss%3A@proxy.example:3128"
    for shown in (f"{proxy}", f"{proxy!r}", proxy.url, f"{Proxies(proxy)!r}"):
        assert "relay" not in shown
        assert "ss" not in shown
        assert "cmVs" not in shown


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("https://s3cr3t:s3cr3t@proxy.example", "is not plain http itself"),
        ("socks5://s3cr3t@proxy.example", "is not plain http itself"),
        ("http://proxy.example:s3cr3t", "is not a URL"),
        ("http://proxy.example:99999", "is not a URL"),
        ("http://s3cr3t@[::1", "is not a URL"),
        ("http://s3cr3t:s3cr3t@", "is no host"),
        ("http://a..s3cr3t", "has a host that no name service takes"),
        ("http://proxy.example/s3cr3t", "goes on after the host"),
        ("http://s3cr3t s3cr3t@proxy.example", "holds blanks"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_refused_and_not_shown(text: str, wrong: str) -> None:
    _, problems = find_proxies({"https_proxy": text})
    assert wrong in problems["https_proxy"]
    assert "; accepted: `http://" in problems["https_proxy"]
    assert "s3cr3t" not in str(problems)


def test_names_come_in_either_case_and_the_first_place_decides() -> None:
    def found(*layers: dict[str, str]) -> Proxies:
        proxies, problems = find_proxies(*layers)
        assert not problems
        return proxies

    assert found({}) == Proxies()
    assert str(found({"HTTPS_PROXY": "a:1"}).https) == "a:1"
    assert str(found({"HTTPS_PROXY": "a:1", "https_proxy": "b:1"}).https) == "b:1"
    assert str(found({"HTTPS_PROXY": "a:1"}, {"https_proxy": "b:1"}).https) == "a:1"
    assert str(found({"HTTPS_PROXY": " "}, {"https_proxy": "b:1"}).https) == "b:1"
    both = found({"http_proxy": "a:1", "HTTPS_PROXY": "b:1", "no_proxy": " X.org, .y.org z"})
    assert (str(both.http), str(both.https)) == ("a:1", "b:1")
    assert both.exceptions == ("x.org", ".y.org", "z")
    assert both.http is not None
    assert both.http.name == "http_proxy"


def test_each_scheme_has_its_proxy() -> None:
    assert Proxies(https=WAY).of("https://a.example/x") == WAY
    assert Proxies(https=WAY).of("http://a.example/x") is None
    assert Proxies(http=WAY).of("http://a.example/x") == WAY
    assert Proxies(http=WAY).of("https://a.example/x") is None
    assert Proxies().of("https://a.example/x") is None


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "relay.localhost", "127.0.0.1", "127.1.2.3", "[::1]"),
        *(METADATA, "169.254.169.254", "[fe80::1]"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_loopback_and_the_metadata_service_are_always_called_directly(
    scheme: str, host: str
) -> None:
    assert BOTH.of(f"{scheme}://{host}:8080/x") is None


@pytest.mark.parametrize(
    ("exception", "excepted", "others"),
    [
        ("*", ["a.example", "10.0.0.1"], []),
        ("b.example", ["b.example", "a.b.example", "A.B.EXAMPLE"], ["ab.example", "example"]),
        (".b.example", ["b.example", "a.b.example"], ["ab.example"]),
        ("*.b.example", ["a.b.example"], ["ab.example"]),
        ("10.1.2.3", ["10.1.2.3"], ["10.1.2.30", "a10.1.2.3"]),
        ("10.0.0.0/8", ["10.255.0.1"], ["11.0.0.1", "a.example"]),
        ("fd00::/8", ["[fd00::7]"], ["[fe00::7]"]),
        ("[fd00::7]", ["[fd00::7]"], ["[fd00::8]"]),
        ("b.example:8443", ["b.example:8443", "a.b.example:8443"], ["b.example", "b.example:84"]),
        ("b.example:443", ["b.example"], ["b.example:8443"]),
        ("10.0.0.0/99", [], ["10.0.0.0"]),
        (".", [], ["a.example"]),
    ],
)
def test_what_no_proxy_names_is_called_directly(
    exception: str, excepted: list[str], others: list[str]
) -> None:
    proxies, _ = find_proxies({"https_proxy": "http://proxy.example", "NO_PROXY": exception})
    for host in excepted:
        assert proxies.of(f"https://{host}/x") is None, host
    for host in others:
        assert proxies.of(f"https://{host}/x") == proxies.https, host
