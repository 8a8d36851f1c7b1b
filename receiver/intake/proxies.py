"""Who calls, when a proxy stands between: `X-Forwarded-For` is the word of whoever sent it, and believed of few."""

from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from receiver.intake.http import Receive, Scope, Send

Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class TrustedProxies:
    """Believes X-Forwarded-For only from the networks given, and of it only the nearest hop that is not one of them."""

    def __init__(self, app: Asgi, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._app = app
        self._networks = networks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client is not None and self._trusts(client[0]):
            scope["client"] = (self._caller(scope, client[0]), 0)
        await self._app(scope, receive, send)

    def _caller(self, scope: Scope, peer: str) -> str:
        hops = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        for hop in reversed(hops.decode("latin-1").split(",")):
            address = _bare(hop.strip())
            if address is None:
                return peer
            peer = address
            if not self._trusts(address):
                return address
        return peer

    def _trusts(self, peer: str) -> bool:
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)  # what IPv4 looks like on a socket for both
        return any((mapped or address) in network for network in self._networks)


def _bare(hop: str) -> str | None:
    """The address of a hop, without a port or brackets; None for anything else."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ip_address(hop))
    except ValueError:
        return None
