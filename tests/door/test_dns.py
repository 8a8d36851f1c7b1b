"""Name servers in trouble: the attempt is a failure to be tried again, and nobody waits for another's name."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from receiver.delivery.outcome import Delivered, Forbidden, Unreachable
from receiver.egress import Transport
from tests.delivery.bad_subscribers import answer, subscriber
from tests.delivery.running import Run, on_both_loops
from tests.door.knocking import ALLOWED_SIDE, FORBIDDEN_SIDE, ONE_SIDE, attempt

SILENT = 300
"""More names than there are slots and connections."""


class NameServers:
    """Stands behind the system's getaddrinfo, which blocks its thread: what names are answered with, and when.

    `found` has addresses, an error or None, which is silence until `speak` is set; `asking` counts the threads.
    """

    def __init__(self) -> None:
        self.found: dict[str, list[str] | OSError | None] = {}
        self.speak = threading.Event()
        self.asking = 0
        self.most = 0
        self._lock = threading.Lock()

    def getaddrinfo(self, host: str, port: int, **_options: object) -> list[object]:
        with self._lock:
            self.asking += 1
            self.most = max(self.most, self.asking)
        try:
            found = self.found[host]
            if found is None:
                self.speak.wait(60)
                found = [FORBIDDEN_SIDE]
            if isinstance(found, OSError):
                raise found
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]
        finally:
            with self._lock:
                self.asking -= 1


@pytest.fixture
def name_servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServers]:
    made = NameServers()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    yield made
    made.speak.set()
    for thread in threading.enumerate():
        if thread.name == "name look-up":
            thread.join(10)


ERRORS = {
    "NXDOMAIN": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "no address": socket.gaierror(socket.EAI_NODATA, "No address associated with hostname"),
    "SERVFAIL": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    "broken": socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure in name resolution"),
    "out of descriptors": OSError(24, "Too many open files"),
}


@on_both_loops
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_a_name_without_addresses_is_a_dns_failure(run: Run, name_servers: NameServers, error: OSError):
    name_servers.found["nowhere.test"] = error

    async def main() -> None:
        async with Transport(ONE_SIDE) as transport:
            outcome = await attempt(transport, "http://nowhere.test/hook?sig=s3cret")
        assert isinstance(outcome, Unreachable)
        assert (outcome.error, outcome.detail) == ("dns", f"no address: {error.strerror}")

    run(main())


@on_both_loops
def test_a_name_that_is_back_is_delivered_to(run: Run, name_servers: NameServers):
    name_servers.found["moody.test"] = ERRORS["SERVFAIL"]

    async def main() -> None:
        async with subscriber(answer(), host=ALLOWED_SIDE) as it, Transport(ONE_SIDE) as transport:
            url = f"http://moody.test:{it.port}/"
            assert (await attempt(transport, url)).error == "dns"
            name_servers.found["moody.test"] = [ALLOWED_SIDE]
            assert isinstance(await attempt(transport, url), Delivered)

    run(main())


@on_both_loops
def test_silence_ends_long_before_the_attempt_and_what_comes_after_it_is_not_trusted(
    run: Run, name_servers: NameServers
):
    name_servers.found["silent.test"] = None

    async def main() -> None:
        async with subscriber(answer(), host=FORBIDDEN_SIDE) as forbidden:
            async with Transport(ONE_SIDE, dns_timeout=0.1) as transport:
                url = f"http://silent.test:{forbidden.port}/"
                outcome = await attempt(transport, url)
                assert isinstance(outcome, Unreachable)
                assert (outcome.error, outcome.detail) == (
                    "dns",
                    "no address: the name servers did not answer within 0.1 s",
                )
                name_servers.speak.set()
            async with Transport(ONE_SIDE) as transport:
                assert isinstance(await attempt(transport, url), Forbidden)
            assert forbidden.connects == 0

    run(main())


@on_both_loops
def test_many_silent_names_take_no_thread_from_another_name(run: Run, name_servers: NameServers):
    """Their threads hang until the end of the test; the other name gets one although it was asked for last."""
    silent = [f"{number}.silent.test" for number in range(SILENT)]
    name_servers.found = {**dict.fromkeys(silent, None), "another.test": [ALLOWED_SIDE]}

    async def main() -> None:
        transport = Transport(ONE_SIDE, connections=SILENT + 1, dns_timeout=15.0)
        async with subscriber(answer(), host=ALLOWED_SIDE) as it, transport:
            hanging = [asyncio.create_task(attempt(transport, f"http://{name}/", 30.0)) for name in silent]
            await asyncio.sleep(0)
            outcome = await attempt(transport, f"http://another.test:{it.port}/", 30.0)
            assert isinstance(outcome, Delivered)
            assert not any(task.done() for task in hanging)
            assert name_servers.most > 200
            for task in hanging:
                task.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

    run(main())
