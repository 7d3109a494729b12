from __future__ import annotations

import pytest

from worker.config.addresses import mns_region


@pytest.mark.parametrize(
    ("endpoint", "region"),
    [
        ("https://123.mns.cn-hangzhou.aliyuncs.com", "cn-hangzhou"),
        ("http://123.mns.cn-hangzhou-internal.aliyuncs.com", "cn-hangzhou"),
        ("https://123.mns.cn-hangzhou-internal-vpc.aliyuncs.com", "cn-hangzhou"),
        ("https://123.mns.ap-southeast-1.aliyuncs.com", "ap-southeast-1"),
        ("https://mns.cn-hangzhou.aliyuncs.com", "cn-hangzhou"),
        ("https://cn-hangzhou.mns.aliyuncs.com", "cn-hangzhou"),
        ("https://ap-southeast-1-vpc.mns.aliyuncs.com", "ap-southeast-1"),
        ("https://cn-shanghai-finance-1.mns.aliyuncs.com:443", "cn-shanghai-finance-1"),
        ("https://123.mns.aliyuncs.com", ""),
        ("https://cn-hangzhou.mns.aliyuncs.com.example", ""),
        ("http://127.0.0.1:9000", ""),
    ],
)
def test_the_region_of_a_queue_is_read_from_either_form_of_its_host(
    endpoint: str, region: str
) -> None:
    assert mns_region(endpoint) == region
