"""Pages that are read by columns: the same as the XML parser says, for whatever arrives."""

from __future__ import annotations

import random
from collections.abc import Callable
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.clouds import listing
from worker.clouds.listing import Damaged, obs_page, oss_page
from worker.ports import Page

ETAG = '"5D41402ABC4B2A76B9719D911017C592"'
OSS_ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2024-03-01T10:00:00.000Z</LastModified>"
    "<ETag>{etag}</ETag><Type>Normal</Type><Size>{size}</Size><StorageClass>Standard</StorageClass>"
    "</Contents>"
)
OBS_ENTRY = (
    "<Contents><Key>{key}</Key><LastModified>2024-03-01T10:00:00.000Z</LastModified><ETag>{etag}</ETag>"
    "<Size>{size}</Size><Owner><ID>b01</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
)
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult>\n  <Name>b</Name><Prefix/>'
TAIL = (
    "<IsTruncated>true</IsTruncated><NextContinuationToken>Q%3D%3D</NextContinuationToken>"
    "<CommonPrefixes><Prefix>a%2F</Prefix></CommonPrefixes></ListBucketResult>"
)
# What a mutation puts in the place of some bytes: all that XML and a careless reader fall over.
PIECES = [
    *(
        "<",
        ">",
        "&",
        "&amp;",
        "&quot;",
        "&lt;",
        "&#x41;",
        '"',
        "'",
        "/",
        "]]>",
        "%2F",
        "%2f",
        "%",
        "+",
    ),
    *("\x00", "\x1f", "\x7f", "\r\n", "\t", " ", "\xe9", "猫", "￾", "<!-- x -->", "<![CDATA[x]]>"),
    *(
        "<Key>",
        "</Key>",
        "<Key/>",
        "<Contents>",
        "</Contents>",
        "<Contents/>",
        "<?x y?>",
        "<a><b/></a>",
    ),
    *("<Owner>", "</Owner>", "<Key>evil</Key>", "<Size>1</Size>", "<!DOCTYPE a [<!ENTITY b 'c'>]>"),
    *(
        "</ListBucketResult>",
        "<ListBucketResult>",
        ' xmlns="x"',
        ' a="1"',
        "<x:Key>y</x:Key>",
        "1_0",
        "-1",
    ),
]


def entries(form: str, keys: list[str], etag: str = ETAG) -> str:
    return "".join(form.format(key=key, etag=etag, size=n) for n, key in enumerate(keys))


def answer(read: Callable[[bytes], Page], body: bytes) -> Page | type[Damaged]:
    try:
        return read(body)
    except Damaged:
        return Damaged


def by_the_parser(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[bytes], Page], body: bytes
) -> Page | type[Damaged]:
    with monkeypatch.context() as patched:
        patched.setattr(listing, "_columns", lambda _region, _decode: None)
        return answer(read, body)


@pytest.mark.parametrize("form", [OSS_ENTRY, OBS_ENTRY, OSS_ENTRY.replace("><", ">\n    <")])
@pytest.mark.parametrize("etag", [ETAG, "&quot;5D&quot;", "", "bare"])
def test_plain_pages_are_read_by_columns_and_as_the_parser_reads_them(
    monkeypatch: pytest.MonkeyPatch, form: str, etag: str
) -> None:
    keys = [quote(key, safe="") for key in ["a", "a/b", "a b+c", "猫/\n", "100%25", "~", "%"]]
    body = f"{HEAD}{entries(form, keys, etag)}{TAIL}".encode()
    expected = by_the_parser(monkeypatch, oss_page, body)
    monkeypatch.setattr(listing, "_listed", None)
    assert answer(oss_page, body) == expected
    assert isinstance(expected, Page)
    assert [each.key for each in expected.objects] == list(map(unquote, keys))
    assert (expected.prefixes, expected.next_token) == (("a/",), "Q==")


@given(st.lists(st.text(min_size=1, max_size=5), min_size=1), st.booleans())
def test_every_name_comes_back_however_it_is_encoded(keys: list[str], plus_is_blank: bool) -> None:
    names = [key.encode("utf-8", "replace").decode() for key in keys]
    encode = quote_plus if plus_is_blank else quote
    body = f"{HEAD}{entries(OBS_ENTRY, [encode(name, safe='') for name in names])}{TAIL}"
    page = obs_page(body.encode(), plus_is_blank=plus_is_blank)
    assert [each.key for each in page.objects] == names


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.no_cover
def test_what_is_damaged_or_hostile_is_read_or_refused_as_by_the_parser(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    outcomes = set()
    for _ in range(400):
        form = rng.choice([OSS_ENTRY, OBS_ENTRY])
        keys = rng.choices(["a", "a%2Fb", "%E7%8C%AB", "a%20b", "a+b", "%2f%", "x"], k=3)
        body = (HEAD + entries(form, keys) + TAIL).encode()
        for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
            at = rng.randrange(len(body))
            piece = rng.choice(PIECES).encode()
            body = body[:at] + piece + body[at + rng.choice([0, 0, len(piece), 7]) :]
        for read in (oss_page, obs_page, lambda body: obs_page(body, plus_is_blank=True)):
            found = answer(read, body)
            assert found == by_the_parser(monkeypatch, read, body), body
            outcomes.add(type(found))
    assert len(outcomes) == 2, "some were read, and some were refused"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<Wrapper>", "</Wrapper>"),
        ("<!DOCTYPE a>", ""),
        ("<Contents/>", ""),
        ("<a><Contents></Contents></a>", ""),
    ],
)
def test_what_stands_around_the_entries_cannot_change_what_they_are(
    monkeypatch: pytest.MonkeyPatch, before: str, after: str
) -> None:
    body = f"{HEAD}{before}{entries(OSS_ENTRY, ['a'])}{after}{TAIL}".encode()
    assert answer(oss_page, body) == by_the_parser(monkeypatch, oss_page, body)


def test_a_name_within_a_group_is_no_name_of_the_entry() -> None:
    nested = OBS_ENTRY.replace("<Key>{key}</Key>", "").replace("<ID>b01</ID>", "<Key>{key}</Key>")
    body = f"{HEAD}{entries(nested, ['a', 'b'])}{TAIL}".encode()
    with pytest.raises(Damaged, match="Key"):
        oss_page(body)


@pytest.mark.parametrize("declared", ["utf-16", "latin-1", "shift_jis", "nonsense"])
def test_another_encoding_is_for_the_parser(monkeypatch: pytest.MonkeyPatch, declared: str) -> None:
    body = f"{HEAD}{entries(OSS_ENTRY, ['a'])}{TAIL}".replace("UTF-8", declared).encode()
    assert answer(oss_page, body) == by_the_parser(monkeypatch, oss_page, body)


def test_a_document_type_is_refused() -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult>&b;</ListBucketResult>'
    with pytest.raises(Damaged, match="document type"):
        oss_page(bomb.encode())
