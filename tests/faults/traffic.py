"""Vendors that keep several connections busy, each message unlike all others, and know of each what became of it."""

import asyncio
import base64
import hashlib
import hmac
import json
import random
from asyncio import StreamReader
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlencode

from tests.faults.history import Fate, Message
from tests.faults.waiting import until

AUTH_TOKEN = "a-token-of-twilio"
OURS = "+15165550199"

Build = Callable[["Source", Message, int], bytes]


@dataclass(frozen=True, slots=True)
class Source:
    """`url` is the public one, which is signed; `traits` are those of all its messages."""

    url: str
    build: Build
    traits: frozenset[str]

    def request(self, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
        fields = {"host": "any", "content-type": content_type, "content-length": str(len(body)), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST /in/{self.url.partition('/in/')[2]} HTTP/1.1\r\n{lines}\r\n".encode() + body


def sender(number: int) -> str:
    """One of twenty people: each has a conversation with us."""
    return f"+121255501{number % 20:02}"


def text_of(message: Message, number: int) -> str:
    return f"{'JOIN' if 'join' in message.traits else 'hello'} {number}"


def twilio(source: Source, message: Message, number: int) -> bytes:
    fields = {"MessageSid": message.key, "From": sender(number), "To": OURS, "Body": text_of(message, number)}
    signed = source.url + "".join(name + fields[name] for name in sorted(fields))
    signature = base64.b64encode(hmac.new(AUTH_TOKEN.encode(), signed.encode(), hashlib.sha1).digest()).decode()
    return source.request(
        "application/x-www-form-urlencoded", urlencode(fields).encode(), {"x-twilio-signature": signature}
    )


def generic(source: Source, message: Message, number: int) -> bytes:
    said: dict[str, str] = {"id": message.key, "from": sender(number), "to": OURS}
    if "report" in message.traits:
        said |= {"from": OURS, "to": sender(number), "status": "ok"}
    else:
        said["text"] = text_of(message, number)
    return source.request("application/json", json.dumps(said).encode())


GENERIC_OPTIONS = {
    "fields": {"vendor_message_id": "id", "from": "from", "to": "to", "text": "text", "status": "status"},
    "statuses": {"ok": "delivered"},
}


@dataclass
class Traffic:
    """`pause` is how long a client thinks, at most, before its next message.

    What a client does not know it sends again after a while, with even chances, as vendors do.
    """

    sources: list[Source]
    chance: random.Random
    pause: float = 0.005
    sent: dict[str, Message] = field(default_factory=dict)
    fates: dict[str, Fate] = field(default_factory=dict)
    acknowledged: int = 0
    refused: int = 0
    closing: bool = False
    _again: deque[tuple[Source, Message, int]] = field(default_factory=deque)
    _in_doubt: set[str] = field(default_factory=set)

    async def run(self, port: int, connections: int = 16) -> None:
        """Until told to close, or until nobody answers any more."""
        self.closing = False
        await asyncio.gather(*(self._client(port) for _ in range(connections)))

    async def more(self, count: int) -> None:
        """Until that many more are acknowledged."""
        enough = self.acknowledged + count
        await until(lambda: self.acknowledged >= enough)

    async def _client(self, port: int) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                while not self.closing:
                    source, message, number = self._next()
                    writer.write(source.build(source, message, number))
                    self._learn((source, message, number), await answered(reader))
                    await asyncio.sleep(self.chance.random() * self.pause)
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    def _next(self) -> tuple[Source, Message, int]:
        if self._again and self.chance.random() < 0.5:
            return self._again.popleft()
        number = len(self.sent)
        source = self.sources[number % len(self.sources)]
        message = self._made(source, number)
        self.sent[message.key] = message
        self.fates[message.key] = "unknown"
        return source, message, number

    def _made(self, source: Source, number: int) -> Message:
        traits = {"any", *source.traits}
        if source.build is generic and number % 5 == 0:
            traits.add("report")
        else:
            traits.add("join" if number % 3 == 0 else "plain")
        key = f"SM{number:032x}" if source.build is twilio else f"g-{number}"
        return Message(key, frozenset(traits), sender(number))

    def _learn(self, about: tuple[Source, Message, int], status: int | None) -> None:
        key = about[1].key
        if status is not None and 200 <= status < 300:
            self.acknowledged += 1
            self.fates[key] = "acknowledged"
        elif status is not None and 400 <= status < 500:
            self.refused += 1
            self.fates[key] = "unknown" if key in self._in_doubt else "refused"
        else:
            self._in_doubt.add(key)
            self._again.append(about)
            if status is None:
                raise ConnectionResetError


async def answered(reader: StreamReader) -> int | None:
    """The status of the next answer, None when there is none."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    return int(head.split(" ")[1])
