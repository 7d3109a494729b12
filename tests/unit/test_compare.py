"""The two sides of one object: which facts lead to which verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.arrival.compare import Comparison, Verdict, compare
from worker.ports import ObjectFacts

A, B = "a" * 32, "b" * 32
NOW = 10_000.0
SOURCE = ObjectFacts(5, 100.0, A, 7, "Normal", "Standard", is_encrypted=False)
COPY = ObjectFacts(5, 101.0, A, 7, "Normal", "STANDARD", is_encrypted=False)
PARTS = replace(COPY, etag=f"{B}-2", kind="Multipart")


def compared(source: ObjectFacts | None, destination: ObjectFacts | None) -> Comparison:
    return compare(source, destination, now=NOW, grace_seconds=900)


@pytest.mark.parametrize(
    ("source", "destination", "verdict"),
    [
        (SOURCE, COPY, Verdict.PROVED),
        (None, COPY, Verdict.GONE),
        (None, None, Verdict.GONE),
        (SOURCE, None, Verdict.MISSING),
        (SOURCE, replace(COPY, size=6), Verdict.DIFFERENT),
        (SOURCE, replace(COPY, size=6, last_modified=1.0), Verdict.DIFFERENT),
        # CRC64 decides before the ETag, in both directions.
        (SOURCE, replace(COPY, crc64=8), Verdict.DIFFERENT),
        (SOURCE, PARTS, Verdict.PROVED),
        (SOURCE, replace(PARTS, crc64=8), Verdict.DIFFERENT),
        # Without a common CRC64 the ETags decide where both are an MD5.
        (SOURCE, replace(COPY, crc64=None), Verdict.PROVED),
        (replace(SOURCE, crc64=None), COPY, Verdict.PROVED),
        (SOURCE, replace(COPY, crc64=None, etag=A.upper()), Verdict.PROVED),
        (SOURCE, replace(COPY, crc64=None, etag=B), Verdict.DIFFERENT),
        # An ETag that may not be an MD5 proves no difference.
        (SOURCE, replace(COPY, crc64=None, etag=B, is_encrypted=True), Verdict.UNPROVED),
        (SOURCE, replace(COPY, crc64=None, etag=B, is_encrypted=None), Verdict.UNPROVED),
        (SOURCE, replace(COPY, crc64=None, etag=B, kind=""), Verdict.UNPROVED),
        (replace(SOURCE, kind="Appendable", crc64=None), replace(COPY, etag=B), Verdict.UNPROVED),
        # But an equal one proves equality.
        (SOURCE, replace(COPY, crc64=None, is_encrypted=None, kind=""), Verdict.PROVED),
        (SOURCE, replace(PARTS, crc64=None), Verdict.UNPROVED),
        (SOURCE, replace(PARTS, crc64=None, last_modified=99.0), Verdict.STALE),
        (SOURCE, replace(PARTS, crc64=None, last_modified=100.0), Verdict.UNPROVED),
        (replace(SOURCE, kind="Symlink"), replace(COPY, size=6), Verdict.UNPROVED),
    ],
)
def test_the_facts_decide(
    source: ObjectFacts | None, destination: ObjectFacts | None, verdict: Verdict
) -> None:
    assert compared(source, destination).verdict is verdict


@pytest.mark.parametrize("destination", [None, replace(COPY, size=6), replace(COPY, crc64=8)])
@pytest.mark.parametrize(("age", "is_pending"), [(899.0, True), (900.0, False)])
def test_a_young_change_is_no_gap_yet(
    destination: ObjectFacts | None, age: float, *, is_pending: bool
) -> None:
    young = replace(SOURCE, last_modified=NOW - age)
    found = compared(young, destination).verdict
    assert (found is Verdict.PENDING) == is_pending
    assert found.is_gap != is_pending


def test_a_change_of_equal_size_under_a_newer_copy_is_what_oms_skips() -> None:
    newer = replace(COPY, crc64=8)
    assert compared(SOURCE, newer).is_skipped_by_default
    assert not compared(SOURCE, replace(newer, last_modified=99.0)).is_skipped_by_default
    assert not compared(SOURCE, replace(newer, size=6)).is_skipped_by_default
    assert not compared(SOURCE, None).is_skipped_by_default


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        (replace(PARTS, crc64=None), "made of parts in the destination"),
        (replace(COPY, crc64=None, etag="x", is_encrypted=True), "encrypted in the destination"),
        (replace(COPY, crc64=None, etag="x", storage_class="COLD"), "archived in the destination"),
        (replace(COPY, crc64=None, etag="x"), "no common checksum"),
    ],
)
def test_what_cannot_be_compared_is_said(destination: ObjectFacts, why: str) -> None:
    found = compared(SOURCE, destination)
    assert found.verdict is Verdict.UNPROVED
    assert found.why.startswith(why)


facts = st.builds(
    ObjectFacts,
    size=st.integers(0, 2),
    last_modified=st.integers(0, 3).map(float),
    etag=st.sampled_from([A, B, f"{A}-2", ""]),
    crc64=st.sampled_from([None, 1, 2]),
    kind=st.sampled_from(["Normal", "Multipart", "Appendable", ""]),
    storage_class=st.sampled_from(["STANDARD", "COLD"]),
    is_encrypted=st.sampled_from([True, False, None]),
)


@given(facts, facts)
def test_only_equal_checksums_prove(source: ObjectFacts, destination: ObjectFacts) -> None:
    verdict = compared(source, destination).verdict
    has_equal_crc = source.crc64 is not None and source.crc64 == destination.crc64
    if verdict is Verdict.PROVED:
        assert source.size == destination.size
        assert has_equal_crc or source.etag == destination.etag
    if verdict is Verdict.UNPROVED:
        assert source.size == destination.size
        assert destination.last_modified >= source.last_modified
