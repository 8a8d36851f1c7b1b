"""The event stream of a running receiver, from the side of the reader: it comes back by itself, without a gap."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

import httpx2

from receiver.cli.failure import described
from receiver.cli.reach import Busy, Query, Reach

PATH = "/v1/events/stream"
SILENCE_SECONDS = 60.0
"""A stream gives signs of life more often; one that does not is dead."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0


class Blocks:
    """Server-Sent Events from bytes. `last_id` is that of the last whole block, from where one goes on.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
    """

    def __init__(self, last_id: str | None = None) -> None:
        self.last_id = last_id
        self._rest = b""

    def take(self, data: bytes) -> Iterator[str]:
        """The data of the events that are whole now; `last_id` is theirs as each comes out."""
        self._rest += data
        while (end := self._rest.find(b"\n\n")) >= 0:
            block, self._rest = self._rest[:end], self._rest[end + 2 :]
            content: list[str] = []
            for line in block.decode().split("\n"):  # splitlines() would cut at what JSON may hold
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "id":
                    self.last_id = value
                elif name == "data":
                    content.append(value)
            if content:
                yield "\n".join(content)

    def begin(self) -> None:
        """On a new connection: what was cut off is not continued."""
        self._rest = b""


async def followed(reach: Reach, query: Query, last_id: str | None, say: Callable[[str], None]) -> AsyncIterator[str]:
    """The JSON of every event, for ever. Raises what httpx2 does where it cannot even begin, and
    Failure where it is not let in.
    """
    blocks = Blocks(last_id)
    wait, begun = FIRST_WAIT, False
    while True:
        blocks.begin()
        try:
            async with reach.streaming(PATH, query, _headers(blocks), SILENCE_SECONDS) as answer:
                if begun:
                    say("Connected again.")
                wait, begun = FIRST_WAIT, True
                async for piece in answer.aiter_raw():
                    for content in blocks.take(piece):
                        yield content
            trouble = "the receiver ended the stream"
        except httpx2.TransportError as error:
            if not begun:
                raise
            trouble = described(error)
        except Busy as error:
            if not begun:
                raise
            trouble = str(error)
        say(f"Cut off ({trouble}); going on from there in {wait:g} s.")
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def _headers(blocks: Blocks) -> dict[str, str]:
    return {"last-event-id": blocks.last_id} if blocks.last_id else {}
