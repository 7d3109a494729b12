from __future__ import annotations

from localcloud.oms import Buckets, SourceObject


def test_an_object_can_be_written_listed_and_removed() -> None:
    buckets = Buckets()
    one = SourceObject(b"1", 0.0, "text/plain")
    assert buckets.read("b", "k") is None
    assert buckets.keys("b") == []
    buckets.remove("b", "k")
    buckets.write("b", "p/2", one)
    buckets.write("b", "p/1", one)
    buckets.write("b", "q", one)
    assert buckets.keys("b", "p/") == ["p/1", "p/2"]
    buckets.remove("b", "p/1")
    assert buckets.keys("b") == ["p/2", "q"]
    assert buckets.read("b", "q") == one
