"""CRC-64/XZ against published numbers and the implementation that Alibaba's SDK uses."""

from __future__ import annotations

import crcmod
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oss2 import crc64_combine

from localcloud.storage.crc64 import crc64

ORACLE = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF, rev=True)


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (b"123456789", 11051210869376104954),
        (b"", 0),
        (b"total=1000\n", 15019917677228020371),
        (b"total=2000\n", 3748945613627404913),
        (b"12345", 6748440630437108969),
        (b"6789", 10278880121275185425),
    ],
)
def test_known_contents_have_their_known_numbers(data: bytes, number: int) -> None:
    assert crc64(data) == number


@given(st.binary(max_size=100))
def test_any_content_has_the_number_that_the_sdk_works_out(data: bytes) -> None:
    assert crc64(data) == ORACLE(data)


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_the_numbers_of_two_parts_can_be_joined(left: bytes, right: bytes) -> None:
    assert crc64_combine.mkCombineFun(
        0x142F0E1EBA9EA3693, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF, rev=True
    )(crc64(left), crc64(right), len(right)) == crc64(left + right)
