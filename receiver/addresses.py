"""Which hosts and addresses may be called: the table of forbidden ones and what RECEIVER_EGRESS_ALLOW opens. Pure.

`egress` asks when a subscription is made, and before every connect.
"""

import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# https://www.iana.org/assignments/iana-ipv4-special-registry/
# https://www.iana.org/assignments/iana-ipv6-special-registry/
# https://www.iana.org/assignments/ipv6-address-space/
# https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16
# `ipaddress.is_global` is not enough: it passes NAT64, 6to4, multicast and Azure's host.
_TABLE = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by carriers"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local, where clouds keep their metadata"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "for protocols"),
    ("192.0.2.0/24", "for documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "AMT relays"),
    ("192.88.99.0/24", "6to4 relays"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("168.63.129.16/32", "Azure's own services"),
    ("::/96", "loopback or IPv4-compatible"),
    ("64:ff9b::/96", "NAT64"),
    ("64:ff9b:1::/48", "NAT64 of a network's own"),
    ("100::/64", "discarded"),
    ("2001::/23", "for protocols, Teredo among them"),
    ("2001:db8::/32", "for documentation"),
    ("2002::/16", "6to4"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "for documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
FORBIDDEN: tuple[tuple[Network, str], ...] = tuple([(ip_network(network), what) for network, what in _TABLE])
GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_LAST_32_BITS = 0xFFFFFFFF

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_MAX_NAME = 253


class BadDestination(ValueError):
    """What deliveries cannot or must not go to; the message says why, without the path and the query."""


class Guard:
    """The public internet, and the networks that the operator allows beyond it."""

    def __init__(self, allow: Sequence[Network] = ()) -> None:
        self._allow = tuple(allow)

    def refusal(self, address: str | Address) -> str | None:
        """Why this address must not be called and what would allow it; None when it may be.

        An address that carries another one (NAT64, 6to4, Teredo) may be called only if both may.
        """
        try:
            parsed = ip_address(address)
        except ValueError:
            return "not an IP address"
        if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
            return "an address with a scope is never called"
        return next(filter(None, map(self._refusal, reached_by(parsed))), None)

    def _refusal(self, address: Address) -> str | None:
        what = _forbidden(address)
        if what is None or any(address in network for network in self._allow):
            return None
        setting = f"RECEIVER_EGRESS_ALLOW={ip_network(address)}"
        return f"{address} is not on the public internet ({what}); {setting} would allow it"


def reached_by(address: Address) -> Iterator[Address]:
    """The address that a packet goes to, and those that a translator or relay on its way hands it on to.

    IPv4-mapped is the IPv4 address itself (RFC 4291); NAT64 RFC 6052, 6to4 RFC 3056, Teredo RFC 4380.
    """
    if isinstance(address, IPv4Address):
        yield address
    elif address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    else:
        yield address
        if address in _NAT64:
            yield IPv4Address(int(address) & _LAST_32_BITS)
        if address.sixtofour is not None:
            yield address.sixtofour
        yield from address.teredo or ()


def _forbidden(address: Address) -> str | None:
    for network, what in FORBIDDEN:
        if address in network:
            return f"{network}, {what}"
    if address.version == 6 and address not in GLOBAL_UNICAST:
        return "outside 2000::/3"
    return None


def check_host(host: str, guard: Guard) -> None:
    """What can be said of a URL's host without DNS; raises BadDestination.

    `host` is in ASCII and lower case, an IPv6 address without its brackets. A host whose last label is a number is an
    IPv4 address (https://url.spec.whatwg.org/#ends-in-a-number-checker); only the form with four decimal numbers is
    taken, since resolvers also read 127.1, 0x7f000001, 2130706433 and octal.
    """
    name = host.removesuffix(".")
    labels = name.split(".")
    if ":" in host or _NUMBER.fullmatch(labels[-1]):
        _check_address(host, guard)
    elif len(name) > _MAX_NAME or not all(map(_LABEL.fullmatch, labels)):
        raise BadDestination("the host is not a name that DNS could hold")
    elif labels[-1] == "localhost":  # RFC 6761 section 6.3
        refusals = [guard.refusal("127.0.0.1"), guard.refusal("::1")]
        if all(refusals):
            raise BadDestination(f"localhost: {refusals[0]}")


def _check_address(text: str, guard: Guard) -> None:
    try:
        address = ip_address(text)
    except ValueError:
        raise BadDestination("the host is no whole address: write IPv4 as four decimal numbers") from None
    refusal = guard.refusal(address)
    if refusal is not None:
        raise BadDestination(refusal)
