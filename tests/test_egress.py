"""Which addresses may be connected to. Nothing is dialled here: the policy is asked."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.egress import EgressPolicy, parse_cidrs

FORBIDDEN = {
    "0.0.0.0": "unspecified",
    "0.1.2.3": "this network",
    "10.0.0.0": "private",
    "10.255.255.255": "private",
    "100.64.0.0": "shared",
    "100.127.255.255": "shared",
    "100.100.100.200": "metadata",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "metadata",
    "169.254.0.1": "link-local",
    "169.254.169.254": "metadata",
    "169.254.170.2": "metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.1": "protocols",
    "192.0.0.192": "metadata",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4",
    "192.168.0.1": "private",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "0:0:0:0:0:0:0:1": "loopback",
    "::127.0.0.1": "IPv4-compatible",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:7f00:1": "loopback",
    "0:0:0:0:0:ffff:a9fe:a9fe": "metadata",
    "::ffff:10.1.2.3": "private",
    "::ffff:0:127.0.0.1": "IPv4-translated",
    "64:ff9b::127.0.0.1": "loopback",
    "64:ff9b::a9fe:a9fe": "metadata",
    "64:ff9b::192.168.1.1": "private",
    "64:ff9b:1::8.8.8.8": "NAT64",
    "64:ff9b:1:ffff::1": "NAT64",
    "100::1": "discard",
    "2001::1": "Teredo",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2": "Teredo",
    "2001:2::1": "protocols",
    "2001:10::1": "protocols",
    "2001:20::1": "protocols",
    "2001:db8::1": "documentation",
    "2002:7f00:1::": "6to4",
    "2002:808:808::1": "6to4",
    "3fff::1": "documentation",
    "4000::1": "outside the public IPv6 range",
    "5f00::1": "outside the public IPv6 range",
    "fc00::1": "private",
    "fd00:ec2::254": "metadata",
    "fd20:ce::254": "metadata",
    "fdff:ffff::1": "private",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local",
    "febf::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "multicast",
}

PUBLIC = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.17",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
)


@pytest.mark.parametrize(("address", "what"), FORBIDDEN.items())
def test_an_address_that_is_not_public_is_refused_and_named(address: str, what: str) -> None:
    policy = EgressPolicy()

    assert not policy.permits(address)
    assert address in policy.reason(address)
    assert what in policy.reason(address)
    assert "SPRINTLY_EGRESS_ALLOW" in policy.reason(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_permitted(address: str) -> None:
    assert EgressPolicy().permits(address)
    assert EgressPolicy().reason(address) == ""


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "2130706433", "0177.0.0.1", "0x7f.1", "1.2.3.4:80", "[::1]"]
)
def test_what_is_not_an_address_is_refused(text: str) -> None:
    policy = EgressPolicy(parse_cidrs("0.0.0.0/0 ::/0"))

    assert not policy.permits(text)
    assert policy.reason(text) == f"{text!r} is not an IP address"


def test_an_allowed_network_is_permitted_and_its_neighbour_is_not() -> None:
    policy = EgressPolicy(parse_cidrs("10.1.0.0/16, fd00:1::/32"))

    assert policy.permits("10.1.255.255")
    assert policy.permits("fd00:1::5")
    assert not policy.permits("10.2.0.0")
    assert not policy.permits("fd00:2::5")
    assert policy.permits("8.8.8.8")


@pytest.mark.parametrize("address", ["::ffff:10.1.0.1", "64:ff9b::10.1.0.1"])
def test_an_allowed_ipv4_network_allows_the_ipv6_forms_that_reach_it(address: str) -> None:
    assert EgressPolicy(parse_cidrs("10.1.0.0/16")).permits(address)


@pytest.mark.parametrize("address", ["2002:a01:1::", "::10.1.0.1", "64:ff9b:1::10.1.0.1", "::ffff:10.2.0.1"])
def test_other_forms_are_not_allowed_by_an_ipv4_network(address: str) -> None:
    assert not EgressPolicy(parse_cidrs("10.1.0.0/16")).permits(address)


def test_an_obsolete_form_is_allowed_by_its_own_network() -> None:
    assert EgressPolicy(parse_cidrs("2002::/16")).permits("2002:a01:1::")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_and_its_mapped_form_get_the_same_verdict(address: IPv4Address) -> None:
    policy = EgressPolicy()

    assert policy.permits(str(address)) == policy.permits(f"::ffff:{address}") == policy.permits(f"64:ff9b::{address}")


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_that_python_calls_private_or_special_is_permitted(address: IPv4Address | IPv6Address) -> None:
    special = (
        address.is_private,
        address.is_loopback,
        address.is_link_local,
        address.is_multicast,
        address.is_reserved,
        address.is_unspecified,
    )
    if EgressPolicy().permits(str(address)) and getattr(address, "ipv4_mapped", None) is None:
        assert not any(special) or address in ip_network("64:ff9b::/96")


def test_cidrs_are_read_between_commas_and_blanks() -> None:
    assert parse_cidrs(" 10.0.0.0/8,fd00::/8 192.168.1.7,\n") == (
        IPv4Network("10.0.0.0/8"),
        IPv6Network("fd00::/8"),
        IPv4Network("192.168.1.7/32"),
    )
    assert parse_cidrs("") == ()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("10.0.0.1/8", "'10.0.0.1/8' has bits set to the right of its prefix: write 10.0.0.0/8"),
        ("fd00::1/8", "'fd00::1/8' has bits set to the right of its prefix: write fd00::/8"),
        ("10.0.0.0/33", "'10.0.0.0/33' is not a network in CIDR notation, such as 10.0.0.0/8 or fd00::/8"),
        ("10.0.0.0/8;fd00::/8", "'10.0.0.0/8;fd00::/8' is not a network in CIDR notation"),
        ("localhost", "'localhost' is not a network"),
        ("10/8", "'10/8' is not a network"),
        ("10.0.0.0/8, internal", "'internal' is not a network"),
        ("::ffff:10.0.0.0/104", "'::ffff:10.0.0.0/104' holds IPv4 addresses: write 10.0.0.0/8"),
    ],
)
def test_a_wrong_cidr_is_one_sentence_that_names_it(text: str, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_cidrs(text)

    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
