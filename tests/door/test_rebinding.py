"""Names that change their mind, mixed answers, kept connections and redirects: the forbidden side counts no connect."""

import socket

import pytest

from receiver.delivery.handshake import ask_consent
from receiver.delivery.outcome import Delivered, Forbidden, Refused, Unreachable
from receiver.egress import Transport, destination
from tests.delivery.bad_subscribers import Connection, answer, redirect
from tests.delivery.running import Run, on_asyncio, on_both_loops
from tests.door.knocking import (
    ALLOWED_SIDE,
    CLOSING,
    FORBIDDEN_SIDE,
    HANG,
    LOOPBACK,
    ONE_SIDE,
    Named,
    attempt,
    two_sides,
)


@on_both_loops
def test_a_name_that_flips_between_attempts_is_delivered_to_only_while_it_is_allowed(run: Run):
    async def main() -> None:
        resolve = Named(*([[ALLOWED_SIDE], [FORBIDDEN_SIDE]] * 5))
        async with two_sides(CLOSING) as (allowed, forbidden):
            async with Transport(ONE_SIDE, resolve=resolve, dns_ttl=0) as transport:
                url = f"http://rebinding.test:{allowed.port}/"
                outcomes = [await attempt(transport, url) for _ in range(10)]
            assert [type(each) for each in outcomes] == [Delivered, Forbidden] * 5
            assert f"RECEIVER_EGRESS_ALLOW={FORBIDDEN_SIDE}/32" in outcomes[1].detail
            assert (allowed.connects, forbidden.connects) == (5, 0)

    run(main())


@on_both_loops
def test_the_address_that_was_checked_is_the_one_connected_to_without_another_look_up(run: Run):
    async def main() -> None:
        resolve = Named([ALLOWED_SIDE], [FORBIDDEN_SIDE])
        async with two_sides(answer()) as (allowed, forbidden):
            async with Transport(ONE_SIDE, resolve=resolve, dns_ttl=0) as transport:
                assert isinstance(await attempt(transport, f"http://rebinding.test:{allowed.port}/"), Delivered)
            assert resolve.asked == 1
            assert f"\r\nhost: rebinding.test:{allowed.port}\r\n".encode() in allowed.heads[0].lower()
            assert forbidden.connects == 0

    run(main())


@on_both_loops
@pytest.mark.parametrize(
    "addresses",
    [
        [ALLOWED_SIDE, FORBIDDEN_SIDE],
        [FORBIDDEN_SIDE, ALLOWED_SIDE],
        ["127.0.0.2", "127.0.0.2", "::1"],
        [ALLOWED_SIDE, f"::ffff:{FORBIDDEN_SIDE}"],
        [ALLOWED_SIDE, "169.254.169.254"],
    ],
    ids=["last", "first", "of the other family", "mapped", "metadata"],
)
def test_a_name_with_one_forbidden_address_among_others_is_not_connected_to_at_all(run: Run, addresses):
    async def main() -> None:
        async with two_sides(answer()) as (allowed, forbidden):
            async with Transport(ONE_SIDE, resolve=Named(addresses)) as transport:
                outcome = await attempt(transport, f"http://mixed.test:{allowed.port}/")
            assert isinstance(outcome, Forbidden)
            assert "RECEIVER_EGRESS_ALLOW=" in outcome.detail
            assert (allowed.connects, forbidden.connects) == (0, 0)

    run(main())


@on_both_loops
def test_a_kept_connection_serves_on_after_the_name_moved_and_the_next_one_is_forbidden(run: Run):
    async def main() -> None:
        closing = False

        async def behave(connection: Connection) -> None:
            await (CLOSING if closing else answer())(connection)

        async with two_sides(behave) as (allowed, forbidden):
            resolve = Named([ALLOWED_SIDE], [FORBIDDEN_SIDE])
            async with Transport(ONE_SIDE, resolve=resolve, dns_ttl=0) as transport:
                url = f"http://moving.test:{allowed.port}/"
                assert isinstance(await attempt(transport, url), Delivered)
                closing = True
                assert isinstance(await attempt(transport, url), Delivered)
                assert isinstance(await attempt(transport, url), Forbidden)
            assert (allowed.connects, len(allowed.requests), forbidden.connects) == (1, 2, 0)

    run(main())


@on_both_loops
def test_a_remembered_look_up_leads_to_the_allowed_side_and_nowhere_else(run: Run):
    async def main() -> None:
        resolve = Named([ALLOWED_SIDE], [FORBIDDEN_SIDE])
        async with two_sides(CLOSING) as (allowed, forbidden):
            async with Transport(ONE_SIDE, resolve=resolve, dns_ttl=3600) as transport:
                for _ in range(3):
                    assert isinstance(await attempt(transport, f"http://moving.test:{allowed.port}/"), Delivered)
            assert (allowed.connects, forbidden.connects, resolve.asked) == (3, 0, 1)

    run(main())


@on_both_loops
def test_an_address_that_does_not_answer_is_not_replaced_by_a_forbidden_one(run: Run):
    async def main() -> None:
        resolve = Named([ALLOWED_SIDE], [FORBIDDEN_SIDE])
        async with two_sides(answer()) as (allowed, forbidden):
            async with Transport(ONE_SIDE, resolve=resolve, dns_ttl=0) as transport:
                url = f"http://moving.test:{_free_port()}/"
                outcome = await attempt(transport, url)
                assert isinstance(outcome, Unreachable)
                assert outcome.error == "connect"
                assert isinstance(await attempt(transport, f"http://moving.test:{allowed.port}/"), Forbidden)
            assert (allowed.connects, forbidden.connects) == (0, 0)

    run(main())


def _free_port() -> int:
    with socket.socket() as briefly:
        briefly.bind((ALLOWED_SIDE, 0))
        return int(briefly.getsockname()[1])


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308, 399])
@pytest.mark.parametrize("path", ["/", "/latest/meta-data/"])
def test_a_redirect_to_the_forbidden_side_is_a_failure_and_not_followed(status: int, path: str):
    async def main() -> None:
        async def behave(connection: Connection) -> None:
            await redirect(f"http://{FORBIDDEN_SIDE}:{connection.seen.port}{path}", status)(connection)

        async with two_sides(behave) as (allowed, forbidden), Transport(ONE_SIDE) as transport:
            outcome = await attempt(transport, allowed.url)
            assert isinstance(outcome, Refused)
            assert outcome.status == status
            asked = await ask_consent(transport, destination(allowed.url), origin="sms.example.com", deadline=HANG)
            assert getattr(asked, "error", None) == "status"
            assert (allowed.connects, forbidden.connects) == (1, 0)

    on_asyncio(main())


@pytest.mark.parametrize(
    "header", ["location", "refresh", "alt-svc", "content-location", "link"], ids=lambda header: f"200 with {header}"
)
def test_no_header_of_an_answer_leads_anywhere(header: str):
    async def main() -> None:
        async def behave(connection: Connection) -> None:
            elsewhere = f"http://{FORBIDDEN_SIDE}:{connection.seen.port}/"
            value = {
                "refresh": f"0; url={elsewhere}",
                "alt-svc": f'http/1.1="{FORBIDDEN_SIDE}:{connection.seen.port}"; ma=86400',
                "link": f"<{elsewhere}>; rel=preload",
            }.get(header, elsewhere)
            await answer(200, b"", [(header, value)])(connection)

        async with two_sides(behave) as (allowed, forbidden), Transport(ONE_SIDE) as transport:
            for _ in range(2):
                assert isinstance(await attempt(transport, allowed.url), Delivered)
            assert (len(allowed.requests), forbidden.connects) == (2, 0)

    on_asyncio(main())


@on_both_loops
def test_the_forbidden_side_counts_as_soon_as_the_setting_opens_it(run: Run):
    async def main() -> None:
        resolve = Named([ALLOWED_SIDE], [FORBIDDEN_SIDE])
        async with two_sides(CLOSING) as (allowed, forbidden):
            async with Transport(LOOPBACK, resolve=resolve, dns_ttl=0) as transport:
                for _ in range(2):
                    assert isinstance(await attempt(transport, f"http://rebinding.test:{allowed.port}/"), Delivered)
            assert (allowed.connects, forbidden.connects) == (1, 1)

    run(main())
