"""`receiver demo`: the whole way of a message on one machine, over real sockets, on a database that is thrown away.

Every vendor's request is posted as it would, and shown as a subscriber got it, who checks the signature.
"""

import asyncio
import hmac
import json
import signal
import socket
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2

from receiver import __version__
from receiver.app import App, create_app
from receiver.cli.aim import aimed, can_sign
from receiver.cli.inshort import Event, gist, way
from receiver.delivery.signing import parse_secret
from receiver.fixtures import Fixture, load_all
from receiver.server import address, listening, owners, tcp
from receiver.settings import Settings
from receiver.vendors import VENDORS
from receiver.world import unix_micros

PLAINEST = ("message", "inbound-sms", "inbound-text", "report-delivered")
"""Cases that show a vendor best; where it has none of them, its first will do."""
KINDS = ("message.received", "message.status", "contact.opted_out")
PATIENCE_SECONDS = 8.0
SKEW_SECONDS = 300
_TEXT_CHARS = 44

Say = Callable[[str], object]
Heard = Callable[[Event, bool], None]


def cases() -> Sequence[Fixture]:
    """One request for each vendor and each kind of event that it has."""
    chosen = [_case(vendor, kind) for vendor in VENDORS for kind in KINDS]
    return list({fixture.name: fixture for fixture in chosen if fixture is not None}.values())


def _case(vendor: str, kind: str) -> Fixture | None:
    fitting = [
        fixture
        for fixture in load_all()
        if fixture.vendor == vendor and fixture.expected.outcome == "stored" and fixture.expected.after is None
        if any(event["type"] == kind for event in fixture.expected.events)
    ]
    return min(fitting, key=lambda fixture: fixture.case not in PLAINEST, default=None)


def line(event: Event) -> str:
    """One event on one line, without what is new each time."""
    text = gist(event)
    text = text if len(text) <= _TEXT_CHARS else text[: _TEXT_CHARS - 1] + "…"
    return f"{event['data']['vendor']:12} {event['type']:18} {way(event):33} {text}"


class Awaited:
    """What must arrive, and what did: events as their lines."""

    def __init__(self, expected: Sequence[Fixture], say: Say) -> None:
        self.cases = expected
        self._missing = Counter(line(event) for fixture in expected for event in fixture.expected.events)
        self._say = say
        self._forged = 0
        self.complete = asyncio.Event()

    def hear(self, event: Event, genuine: bool) -> None:
        shown = line(event)
        self._say(f"  {'signature ok ' if genuine else 'BAD SIGNATURE'}  {shown}")
        if not genuine:
            self._forged += 1
            return
        self._missing -= Counter([shown])
        if not self._missing:
            self.complete.set()

    def problems(self) -> Iterator[str]:
        for shown, count in self._missing.items():
            yield f"missing{f' {count} times' if count > 1 else ''}: {shown}"
        if self._forged:
            yield f"{self._forged} with a bad signature"


class Subscriber:
    """A small HTTP server that believes only what is signed with its secret."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self.secret = ""
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, as many requests as come over it."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                headers = _headers(await reader.readuntil(b"\r\n\r\n"))
                body = await reader.readexactly(int(headers["content-length"]))
                genuine = is_genuine(self.secret, headers, body, time.time())
                status = b"200 OK" if genuine else b"401 Unauthorized"
                writer.write(b"HTTP/1.1 %b\r\ncontent-length: 0\r\n\r\n" % status)
                self._heard(json.loads(body), genuine)
        writer.close()


@asynccontextmanager
async def subscriber(heard: Heard) -> AsyncIterator[Subscriber]:
    it = Subscriber(heard)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.url = f"{address(server.sockets[0])}/hook"
    try:
        yield it
    finally:
        server.close()


def _headers(head: bytes) -> dict[str, str]:
    pairs = (text.partition(":") for text in head.decode("latin-1").splitlines()[1:])
    return {name.lower(): value.strip() for name, _, value in pairs}


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """The check that every subscriber should make, by the Standard Webhooks text alone.

    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#verifying-webhook-authenticity
    """
    identifier, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not (stamp.isascii() and stamp.isdigit() and abs(now - int(stamp)) <= SKEW_SECONDS):
        return False
    signed = f"{identifier}.{stamp}.".encode() + body
    expected = b"v1," + b64encode(hmac.digest(parse_secret(secret), signed, "sha256"))
    given = headers.get("webhook-signature", "").encode("latin-1").split()
    return any(hmac.compare_digest(expected, one) for one in given)


async def demonstrate(
    say: Say, *, once: bool, patience: float = PATIENCE_SECONDS, transport: httpx2.AsyncBaseTransport | None = None
) -> int:
    """Returns the exit code: 0 when every event arrived, well signed, in `patience` seconds after the last was posted.

    Without `once` it goes on serving until a signal. `transport` stands in for the way out in tests.
    """
    with TemporaryDirectory(prefix="receiver-demo-") as folder:
        world = tcp("127.0.0.1", 0)
        app = create_app(_settings(Path(folder), world), transport=transport)
        shown = cases()
        awaited = Awaited(shown, say)
        say(f"receiver {__version__} on a throw-away database, {address(world)}; what a subscriber hears:\n")
        with owners(Path(f"{app.settings.database_path}.sock")) as owner:
            return await _shown(app, world, owner, awaited, patience, say, once=once)


async def _shown(
    app: App, world: socket.socket, owner: socket.socket | None, awaited: Awaited, patience: float, say: Say, *,
    once: bool,
) -> int:  # fmt: skip
    async with (
        subscriber(awaited.hear) as hook,
        app.lifespan(),
        listening(app, world, owner),
        _client(app) as client,
    ):
        urls = await _set_up(client, hook, awaited.cases)
        await _post(client, awaited.cases, urls, say)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await awaited.complete.wait()
        problems = list(awaited.problems())
        say(
            "\n"
            + ("\n".join(problems) or f"All {sum(len(it.expected.events) for it in awaited.cases)} events arrived.")
        )
        if not once:
            say(_what_next(app, urls))
            await _stopped()
        return 1 if problems else 0


def _settings(folder: Path, world: socket.socket) -> Settings:
    """None of the environment's own: the demo must be the same everywhere."""
    return Settings.model_validate(
        {
            "database_url": f"sqlite:///{folder}/receiver.db",
            "port": world.getsockname()[1],
            "egress_allow": "127.0.0.0/8",
        }
    )


def _client(app: App) -> httpx2.AsyncClient:
    headers = {"authorization": f"Bearer {app.first_key}"}
    return httpx2.AsyncClient(base_url=app.settings.public_url, headers=headers, trust_env=False)


async def _set_up(client: httpx2.AsyncClient, hook: Subscriber, shown: Sequence[Fixture]) -> Mapping[str, str]:
    """A subscription to everything, and a source for each vendor's account; case → the URL to post it to."""
    hook.secret = (await _made(client, "/v1/subscriptions", {"url": hook.url}))["secret"]
    made: dict[str, str] = {}
    urls: dict[str, str] = {}
    for fixture in shown:
        account = {"credentials": fixture.expected.credentials, "options": fixture.expected.options}
        body = {"vendor": fixture.vendor, **account}
        known = json.dumps(body, sort_keys=True)
        if known not in made:
            made[known] = (await _made(client, "/v1/sources", body))["url"]
        urls[fixture.name] = made[known]
    return urls


async def _made(client: httpx2.AsyncClient, path: str, body: Mapping[str, Any]) -> Any:
    answer = await client.post(path, json=body)
    answer.raise_for_status()
    return answer.json()


async def _post(client: httpx2.AsyncClient, shown: Sequence[Fixture], urls: Mapping[str, str], say: Say) -> None:
    for fixture in shown:
        request = aimed(fixture, urls[fixture.name], unix_micros(), sign=can_sign(fixture))
        answer = await client.send(request)
        if not answer.is_success:
            say(f"  {fixture.name} was answered {answer.status_code}")


def _what_next(app: App, urls: Mapping[str, str]) -> str:
    url, bearer = app.settings.public_url, f'-H "Authorization: Bearer {app.first_key}"'
    named = {name: urls[name] for name in ("sendsms.message", "twilio.inbound-sms") if name in urls}
    return "\n".join(
        [
            "",
            f"It goes on serving. The API is described at {url}/openapi.json; try in another terminal:",
            "",
            f"  curl {bearer} '{url}/v1/events?order=desc'",
            f"  curl {bearer} {url}/v1/sources",
            f"  curl {bearer} {url}/v1/deliveries",
            *_as_a_vendor(named),
            "",
            "Ctrl-C ends it and removes everything.",
        ]
    )


def _as_a_vendor(urls: Mapping[str, str]) -> Iterator[str]:
    if "sendsms.message" in urls:
        yield f"  curl '{urls['sendsms.message']}?from=40727363767&to=1898&message=Hello'"
    if "twilio.inbound-sms" in urls:
        yield f"  {_ourselves()} trigger twilio.inbound-unicode --sign --to {urls['twilio.inbound-sms']}"


def _ourselves() -> str:
    """The command line as it can be called from here, whatever is on the PATH."""
    python = Path(sys.executable)
    return f"{python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python} -m receiver"


async def _stopped() -> None:
    """Until Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
