"""Which addresses may be connected to."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.images.http.addresses import AddressPolicy, address_policy, is_public

REFUSED = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2a00:1450::5efe:10.0.0.1",
    "2a00:1450::200:5efe:10.0.0.1",
    "localhost",
    "0x7f.1",
    "2130706433",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "2a00:1450:4001::1",
    "2a00:1450::5eff:808:808",
    "2a00:1450::100:5efe:808:808",
]


@pytest.mark.parametrize("address", REFUSED)
def test_other_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address):
    assert is_public(address)


@given(st.ip_addresses())
def test_nothing_that_python_calls_private_is_public(ip):
    if is_public(str(ip)):
        assert not (ip.is_private)
        assert not (ip.is_loopback)
        assert not (ip.is_link_local)
        assert not (ip.is_multicast)
        assert not (ip.is_reserved)
        assert not isinstance(ip, ipaddress.IPv6Address) or ip.ipv4_mapped is None


def test_hosts_are_allowed_by_name_and_private_addresses_all_together():
    some = address_policy(" CDN.internal. , [::1],", allow_private=False)
    assert some.allows("cdn.internal", "10.0.0.1")
    assert some.allows("CDN.INTERNAL.", "127.0.0.1")
    assert some.allows("::1", "::1")
    assert not some.allows("other.internal", "10.0.0.1")
    assert not some.allows("sub.cdn.internal", "10.0.0.1")
    assert address_policy("", allow_private=True).allows("any", "169.254.169.254")
    assert address_policy("", allow_private=False) == AddressPolicy()
