"""Which IP addresses may be connected to: public ones, and the networks that an operator allows.

In goes an address as text, out comes a verdict. The tables below are the IANA special-purpose address registries
(https://www.iana.org/assignments/iana-ipv4-special-registry, …/iana-ipv6-special-registry, as of 2025), and not
`ipaddress.is_global`: that changed its mind between Python releases (192.0.0.0/24, 64:ff9b:1::/48, 2002::/16) and
calls multicast and site-local addresses global.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import unquote

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address

SETTING = "SPRINTLY_EGRESS_ALLOW"

# The first match names the address, so the narrower network stands before the wider one.
_NOT_PUBLIC: Sequence[tuple[Network, str]] = [
    (ip_network(network), what)
    for network, what in (
        ("0.0.0.0/32", "the unspecified address"),
        ("0.0.0.0/8", "an address of this network itself"),
        ("10.0.0.0/8", "a private address"),
        ("100.100.100.200/32", "a cloud's metadata address"),  # Alibaba Cloud
        ("100.64.0.0/10", "a shared (carrier-grade NAT) address"),
        ("127.0.0.0/8", "a loopback address"),
        ("168.63.129.16/32", "a cloud's metadata address"),  # Azure; public by its number, but answered by the host
        ("169.254.169.254/32", "a cloud's metadata address"),  # AWS, Azure, Google Cloud and others
        ("169.254.170.2/32", "a cloud's metadata address"),  # AWS ECS task credentials
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.192/32", "a cloud's metadata address"),  # Oracle Cloud
        ("192.0.0.0/24", "an address reserved for protocols"),
        ("192.0.2.0/24", "a documentation address"),
        ("192.88.99.0/24", "a 6to4 relay address"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a benchmarking address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", "a multicast address"),
        ("255.255.255.255/32", "the broadcast address"),
        ("240.0.0.0/4", "a reserved address"),
        ("::/128", "the unspecified address"),
        ("::1/128", "a loopback address"),
        ("::/96", "an IPv4-compatible address"),
        ("::ffff:0:0:0/96", "an IPv4-translated address"),
        ("64:ff9b:1::/48", "a local NAT64 address"),  # RFC 8215: where its IPv4 address stands is the site's choice
        ("100::/64", "a discard address"),
        ("2001::/32", "a Teredo address"),
        ("2001:db8::/32", "a documentation address"),
        ("2001::/23", "an address reserved for protocols"),
        ("2002::/16", "a 6to4 address"),
        ("3fff::/20", "a documentation address"),
        ("fd00:ec2::254/128", "a cloud's metadata address"),  # AWS
        ("fd20:ce::254/128", "a cloud's metadata address"),  # Google Cloud
        ("fc00::/7", "a private (unique local) address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address"),
        ("ff00::/8", "a multicast address"),
    )
]
_UNICAST = IPv6Network("2000::/3")  # all that IANA has given out for the public IPv6 internet
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")  # a host whose last label is one is an IPv4 address, or nothing at all
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: a gateway connects to the IPv4 address in the last 32 bits


class EgressPolicy:
    """Says of an address whether it may be connected to: if it is public, or lies in one of the `allow` networks.

    An IPv4 address written as IPv6 (`::ffff:a.b.c.d`, or NAT64's `64:ff9b::a.b.c.d`) is judged as the IPv4 address that
    it reaches. The other forms that hold one (6to4, Teredo, IPv4-compatible) are obsolete and never public.
    """

    def __init__(self, allow: Iterable[Network] = ()) -> None:
        self.allow = tuple(allow)
        self._verdict = lru_cache(maxsize=65_536)(self._judge)

    def permits(self, address: str) -> bool:
        """Return whether `address`, an IPv4 or IPv6 address as text, may be connected to."""
        return not self._verdict(address)

    def reason(self, address: str) -> str:
        """Return the sentence that says why `address` may not be connected to, or "" where it may."""
        return self._verdict(address)

    def reason_for_host(self, host: str) -> str:
        """Return why a proxy may not be asked for `host`, as it stands in a URL (IPv6 without brackets), or "".

        Here only what needs no resolver is judged: addresses in any notation that some resolver takes (WHATWG URL,
        4.4: 2130706433, 0x7f.1, 0177.0.0.1), and the names that always mean this machine (RFC 6761, 6.3). What any
        other name resolves to, the proxy alone knows.
        """
        plain = unquote(host).lower().removesuffix(".")
        if plain == "localhost" or plain.endswith(".localhost"):
            return self._verdict("127.0.0.1")
        if ":" in plain:
            return self._verdict(plain)
        if not _NAME.fullmatch(plain):
            return f"{plain!r} is not the name of a host"
        if _NUMBER.fullmatch(plain.rpartition(".")[2]):
            return self._verdict(_written_out(plain))
        return ""

    def _judge(self, text: str) -> str:
        try:
            address = ip_address(text)
        except ValueError:
            return f"{text!r} is not an IP address"
        real = _embedded(address) or address
        if any(candidate in network for candidate in (address, real) for network in self.allow):
            return ""
        what = _what(real)
        return what and f"{text} is {what}, and {SETTING} does not list it"


def parse_cidrs(text: str) -> tuple[Network, ...]:
    """Return the networks in `text`, CIDRs or single addresses between commas or blanks.

    Raises ValueError with one sentence for the first that is wrong.
    """
    return tuple(_network(word) for word in re.split(r"[,\s]+", text) if word)


def _written_out(number: str) -> str:
    """An IPv4 address in its usual notation, where it is one in any."""
    try:
        return socket.inet_ntoa(socket.inet_aton(number))
    except OSError:
        return number


def _network(word: str) -> Network:
    try:
        network = ip_network(word, strict=False)
    except ValueError:
        raise ValueError(f"{word!r} is not a network in CIDR notation, such as 10.0.0.0/8 or fd00::/8") from None
    inner = _embedded(network.network_address)
    if inner and network.prefixlen >= 96:
        raise ValueError(f"{word!r} holds IPv4 addresses: write {inner}/{network.prefixlen - 96}")
    if "/" in word and ip_address(word.partition("/")[0]) != network.network_address:
        raise ValueError(f"{word!r} has bits set to the right of its prefix: write {network}")
    return network


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this IPv6 address ends up at, where there is one."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped:
        return address.ipv4_mapped
    return IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None


def _what(address: Address) -> str:
    """What kind of address it is, or "" for a public one."""
    for network, what in _NOT_PUBLIC:
        if address in network:
            return what
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return "outside the public IPv6 range"
    return ""
