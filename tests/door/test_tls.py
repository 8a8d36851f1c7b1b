"""TLS proves the host of the URL: what a name resolves to does not matter, what the certificate says does."""

import pytest

from receiver.delivery.outcome import Delivered, Unreachable
from receiver.egress import Transport
from tests.delivery.bad_subscribers import (
    TLS_HOST,
    Connection,
    answer,
    bytes_then_close,
    no_answer,
    subscriber,
    trusting_tls,
)
from tests.delivery.running import Run, on_both_loops
from tests.door.knocking import LOOPBACK, Named, attempt

THIS_MACHINE = ["127.0.0.1"]


async def resets(connection: Connection) -> None:
    connection.reset()


NOT_PROVEN = {
    "self-signed": ("self_signed.pem", TLS_HOST, None, "self-signed"),
    "of an authority that nobody trusts": ("another_authority.pem", TLS_HOST, "trusting", "self-signed"),
    "signed by one that is not ours": ("other_name.pem", "other.test", None, "unable to get local issuer"),
    "expired": ("expired.pem", TLS_HOST, "trusting", "expired"),
    "not yet valid": ("not_yet_valid.pem", TLS_HOST, "trusting", "not yet valid"),
    "of another host": ("self_signed.pem", "other.test", "trusting", "Hostname mismatch"),
    "of another host, the other way": ("other_name.pem", TLS_HOST, "trusting", "Hostname mismatch"),
    "of the host above": ("self_signed.pem", f"a.{TLS_HOST}", "trusting", "Hostname mismatch"),
    "wildcard for the name itself": ("wildcard.pem", TLS_HOST, "trusting", "Hostname mismatch"),
    "wildcard two levels down": ("wildcard.pem", f"a.b.{TLS_HOST}", "trusting", "Hostname mismatch"),
    "of a name, called by address": ("self_signed.pem", "127.0.0.1", "trusting", "IP address mismatch"),
    "of an address, called by name": ("address.pem", TLS_HOST, "trusting", "Hostname mismatch"),
    "of another address": ("address.pem", "127.0.0.2", "trusting", "IP address mismatch"),
}


@on_both_loops
@pytest.mark.parametrize(("certificate", "host", "trust", "complaint"), NOT_PROVEN.values(), ids=NOT_PROVEN.keys())
def test_a_certificate_that_does_not_prove_the_host_is_refused_and_nothing_is_sent(
    run: Run, certificate: str, host: str, trust: str | None, complaint: str
):
    async def main() -> None:
        tls = trusting_tls() if trust else None
        listening = host if host == "127.0.0.2" else "127.0.0.1"
        async with subscriber(answer(), certificate=certificate, host=listening) as it:
            async with Transport(LOOPBACK, resolve=Named(THIS_MACHINE), tls=tls) as transport:
                outcome = await attempt(transport, f"https://{host}:{it.port}/")
            assert isinstance(outcome, Unreachable)
            assert outcome.error == "tls"
            assert outcome.detail.startswith("certificate not accepted: ")
            assert complaint in outcome.detail
            assert it.requests == []

    run(main())


PROVEN = [
    ("self_signed.pem", TLS_HOST, TLS_HOST),
    ("self_signed.pem", "Subscriber.TEST", TLS_HOST),
    ("self_signed.pem", f"{TLS_HOST}.", TLS_HOST),
    ("wildcard.pem", f"a.{TLS_HOST}", f"a.{TLS_HOST}"),
    ("address.pem", "127.0.0.1", None),
]


@on_both_loops
@pytest.mark.parametrize(("certificate", "host", "server_name"), PROVEN, ids=str)
def test_a_proven_host_is_delivered_to_and_asked_for_by_its_name(
    run: Run, certificate: str, host: str, server_name: str | None
):
    async def main() -> None:
        transport = Transport(LOOPBACK, resolve=Named(THIS_MACHINE), tls=trusting_tls())
        async with subscriber(answer(), certificate=certificate) as it, transport:
            assert isinstance(await attempt(transport, f"https://{host}:{it.port}/"), Delivered)
            assert it.server_names == [server_name]
            assert f"\r\nhost: {host.lower()}:{it.port}\r\n".encode() in it.heads[0].lower()

    run(main())


@on_both_loops
def test_two_names_of_one_machine_do_not_share_a_connection(run: Run):
    async def main() -> None:
        transport = Transport(LOOPBACK, resolve=Named(THIS_MACHINE), tls=trusting_tls())
        async with subscriber(answer(), certificate="wildcard.pem") as it, transport:
            for host in (f"a.{TLS_HOST}", f"b.{TLS_HOST}", f"a.{TLS_HOST}"):
                assert isinstance(await attempt(transport, f"https://{host}:{it.port}/"), Delivered)
            assert it.server_names == [f"a.{TLS_HOST}", f"b.{TLS_HOST}"]

    run(main())


@on_both_loops
@pytest.mark.parametrize(
    ("behaviour", "word"),
    [(bytes_then_close(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls"), (resets, "connect")],
    ids=["plain HTTP", "reset"],
)
def test_what_speaks_no_tls_is_sent_nothing(run: Run, behaviour, word: str):
    async def main() -> None:
        async with subscriber(behaviour, at_once=True) as it, Transport(LOOPBACK) as transport:
            outcome = await attempt(transport, f"https://127.0.0.1:{it.port}/")
            assert isinstance(outcome, Unreachable)
            assert outcome.error == word
            assert it.requests == []

    run(main())


@on_both_loops
def test_a_peer_that_never_shakes_hands_meets_the_connect_timeout(run: Run):
    async def main() -> None:
        async with subscriber(no_answer, at_once=True) as it, Transport(LOOPBACK, connect_timeout=0.1) as transport:
            outcome = await attempt(transport, f"https://127.0.0.1:{it.port}/")
            assert (outcome.error, outcome.detail) == ("timeout", "no connection within 0.1 s")

    run(main())
