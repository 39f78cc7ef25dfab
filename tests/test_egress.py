"""Which addresses may be connected to. Nothing is dialled here: the policy is asked."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from urllib.parse import urlsplit

import pytest
from forbidden import ADDRESSES, NOTATIONS
from hypothesis import given
from hypothesis import strategies as st

from consumer.egress import EgressPolicy, parse_cidrs

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


@pytest.mark.parametrize(("address", "what"), [*ADDRESSES.items(), ("fe80::1%eth0", "link-local")])
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


# What a proxy may not be asked for


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_forbidden_address_is_refused_before_a_proxy_is_asked(address: str) -> None:
    assert "SPRINTLY_EGRESS_ALLOW" in EgressPolicy().reason_for_host(address)


@pytest.mark.parametrize("host", NOTATIONS)
def test_so_is_every_other_notation_of_one(host: str) -> None:
    hostname = urlsplit(f"http://{host}/").hostname or ""

    assert "SPRINTLY_EGRESS_ALLOW" in EgressPolicy().reason_for_host(hostname)


@pytest.mark.parametrize("host", ["127.1", "0x7f.0.0.1", "localhost", "LOCALHOST.", "app.localhost", "::ffff:7f00:1"])
def test_an_allowed_network_may_be_asked_for_in_every_notation(host: str) -> None:
    assert EgressPolicy(parse_cidrs("127.0.0.0/8")).reason_for_host(host) == ""


@pytest.mark.parametrize("host", ["8.8.8.8", "134744072", "2606:4700:4700::1111", "hooks.example.com", "a_b.test."])
def test_public_addresses_and_names_may_be_asked_for(host: str) -> None:
    assert EgressPolicy().reason_for_host(host) == ""


@pytest.mark.parametrize("host", ["256.1.1.1", "1.2.3.4.5", "a.0x7g.09", "0x", "08.8.8.8", "4294967296"])
def test_a_number_that_is_no_address_is_refused_where_a_resolver_could_read_it(host: str) -> None:
    number = host.rpartition(".")[2]
    is_number = number.isdecimal() or number == "0x"

    assert bool(EgressPolicy().reason_for_host(host)) is is_number


@pytest.mark.parametrize("host", ["", ".", "a b", "a\\b", "a%00b", "a%0d%0ab", "a@b", "b\u00fc.test", "-", "a..-"])
def test_what_parsers_may_differ_about_is_refused(host: str) -> None:
    assert "is not the name of a host" in EgressPolicy().reason_for_host(host)


@given(st.text(alphabet="0123456789abcdefx.:%-_[]@/ \\", max_size=24))
def test_whatever_a_host_is_there_is_a_verdict(host: str) -> None:
    reason = EgressPolicy(parse_cidrs("0.0.0.0/0")).reason_for_host(host)

    assert isinstance(reason, str)
