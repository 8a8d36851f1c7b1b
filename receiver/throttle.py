"""How often one peer may fail to prove who it is before it hears 429.

Vendors share addresses, and so do an operator and whoever guesses keys behind the same NAT. Therefore only failures are
counted and only failures are answered differently: a request that proves itself is served, whatever came before it.
"""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

BURST = 20
INTERVAL = 5.0
PEERS = 10_000


class Throttle:
    """A token bucket for each peer, kept as the moment at which it will be full again.

    burst     failures that are answered as what they are, one after the other
    interval  seconds after which one more is
    peers     how many are remembered; the one whose last failure is oldest is forgotten
    """

    def __init__(
        self, monotonic: Callable[[], float], *, burst: int = BURST, interval: float = INTERVAL, peers: int = PEERS
    ) -> None:
        self._monotonic = monotonic
        self._interval = interval
        self._deepest = (burst - 1) * interval
        self._peers = peers
        self._full_at: dict[str, float] = {}

    def failed(self, peer: str) -> float:
        """Seconds until the next failure of this peer counts as its first again; 0 within what it may."""
        now, network = self._monotonic(), network_of(peer)
        full_at = max(self._full_at.pop(network, now), now)
        wait = max(full_at - now - self._deepest, 0.0)
        self._full_at[network] = full_at if wait else full_at + self._interval
        if len(self._full_at) > self._peers:
            del self._full_at[next(iter(self._full_at))]
        return wait


def unlimited(_peer: str) -> float:
    """In the place of `Throttle.failed` where nobody is held up."""
    return 0.0


def network_of(peer: str) -> str:
    """Whom an address stands for: itself, or the /64 that one IPv6 customer has to choose from."""
    if ":" not in peer:
        return peer
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    if not isinstance(address, IPv6Address):
        return peer
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
