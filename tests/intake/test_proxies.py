"""Whose word about the caller is believed when a proxy stands between, and which part of it."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest

from receiver.intake.proxies import TrustedProxies

PROXIES = ("10.0.0.0/8", "::1/128", "fd00::/8")
BELIEVED: Sequence[tuple[str, Sequence[str], str]] = [
    ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", ["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
    ("10.0.0.1", ["203.0.113.7", "10.0.0.2"], "203.0.113.7"),
    ("10.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),  # what stands further left is the caller's own word
    ("10.0.0.1", ["1.2.3.4, evil"], "10.0.0.1"),
    ("10.0.0.1", ["evil, 203.0.113.7"], "203.0.113.7"),
    ("10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
    ("10.0.0.1", ["[2001:db8::7]:80"], "2001:db8::7"),
    ("10.0.0.1", ["[2001:db8::7]"], "2001:db8::7"),
    ("10.0.0.1", ["2001:db8::7"], "2001:db8::7"),
    ("10.0.0.1", ["[::1]:80"], "::1"),
    ("10.0.0.1", ["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
    ("10.0.0.1", [", ".join(["10.0.0.2"] * 100)], "10.0.0.2"),
    ("10.0.0.1", ["203.0.113.7, " + ", ".join(["10.0.0.2"] * 100)], "203.0.113.7"),
    ("10.0.0.1", [""], "10.0.0.1"),
    ("10.0.0.1", ["203.0.113.7,"], "10.0.0.1"),
    ("10.0.0.1", ["unknown"], "10.0.0.1"),
    ("10.0.0.1", [], "10.0.0.1"),
    ("::1", ["203.0.113.7"], "203.0.113.7"),
    ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),  # IPv4 on a socket that listens on `::`
    ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
    ("203.0.113.9", ["10.0.0.1"], "203.0.113.9"),
    ("127.0.0.1", ["1.2.3.4"], "127.0.0.1"),
    ("nonsense", ["1.2.3.4"], "nonsense"),
]


@pytest.mark.parametrize(("peer", "forwarded", "caller"), BELIEVED)
async def test_only_a_trusted_proxy_is_believed_and_only_about_the_nearest_stranger(
    peer: str, forwarded: Sequence[str], caller: str
) -> None:
    seen = await through_proxies((peer, 4711), forwarded)
    assert seen is not None
    assert seen[0] == caller


async def test_a_caller_without_an_address_stays_without_one() -> None:
    assert await through_proxies(None, ["1.2.3.4"]) is None


async def through_proxies(client: tuple[str, int] | None, forwarded: Sequence[str]) -> Any:
    networks: list[IPv4Network | IPv6Network] = [ip_network(network) for network in PROXIES]
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["client"])

    async def unused(*_given: Any) -> Any:
        raise AssertionError

    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    await TrustedProxies(app, networks)({"client": client, "headers": headers}, unused, unused)
    return seen[0]
