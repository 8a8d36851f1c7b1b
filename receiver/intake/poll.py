"""Vendors that must be asked: a task for each source that wants it, and the one place where a question becomes HTTP."""

import asyncio
from dataclasses import dataclass

import httpx2

from receiver.egress import BadDestination, destination
from receiver.intake.asking import Asking
from receiver.intake.turns import Turns
from receiver.storage.catalog import Catalog, Door
from receiver.vendors.contract import NotAnswered, Question, Reply
from receiver.vendors.polling import asked

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of one answer."""
DEADLINE = 60.0
"""Seconds for one question, from the look-up of the name to the last byte."""


@dataclass(frozen=True, slots=True)
class _Asked:
    door: Door
    turns: Turns
    task: "asyncio.Task[None]"


class Poller:
    """`run` owns the tasks; sources that are made, changed or removed are followed as the catalog tells of them."""

    def __init__(self, catalog: Catalog, asking: Asking) -> None:
        self._catalog = catalog
        self._asking = asking
        self._changed = asyncio.Event()
        self._asked: dict[str, _Asked] = {}
        catalog.on_change(self._changed.set)

    def wake(self, source_id: str) -> None:
        """There is something to ask that source's vendor for."""
        if source_id in self._asked:
            self._asked[source_id].turns.wake()

    async def run(self) -> None:
        """Until it is cancelled. What was asked and is not on disk then is asked again at the next start."""
        anew = False
        try:
            while True:
                self._changed.clear()
                await self._follow(anew=anew)
                anew = True
                await self._changed.wait()
        finally:
            await self._stop(list(self._asked))

    async def _follow(self, *, anew: bool) -> None:
        wanted = {door.source.id: door for door in self._catalog.doors if asked(door.vendor, door.source)}
        await self._stop([key for key, it in self._asked.items() if key not in wanted or it.door != wanted[key]])
        for source_id, door in wanted.items():
            if source_id not in self._asked:
                turns = self._turns(door, anew=anew)
                self._asked[source_id] = _Asked(door, turns, asyncio.create_task(turns.run()))

    def _turns(self, door: Door, *, anew: bool) -> Turns:
        found = asked(door.vendor, door.source)
        assert found is not None
        return Turns(door, *found, self._asking, anew=anew)

    async def _stop(self, source_ids: list[str]) -> None:
        tasks = [self._asked.pop(source_id).task for source_id in source_ids]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def send(
    transport: httpx2.AsyncBaseTransport, base_url: str, question: Question, *, deadline: float = DEADLINE
) -> Reply:
    """One question over HTTP. Raises NotAnswered; no message holds the URL, which may hold a password."""
    try:
        where = destination(base_url + question.path)
    except BadDestination as error:
        raise NotAnswered("network", f"the question cannot be sent: its URL {error}") from None
    headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in question.headers]
    request = httpx2.Request(
        question.method,
        where.url,
        headers=[(b"host", where.host), (b"content-length", b"%d" % len(question.body)), *headers],
        stream=httpx2.ByteStream(question.body),
        extensions=where.extensions,
    )
    try:
        async with asyncio.timeout(deadline):
            response = await transport.handle_async_request(request)
            body = await _whole(response)
    except httpx2.TransportError as error:
        raise NotAnswered("network", f"the vendor was not reached: {error}") from None
    except TimeoutError:
        raise NotAnswered("network", f"no whole answer within {deadline:g} s") from None
    raw = [(name.lower(), value) for name, value in response.headers.raw]
    return Reply(status=response.status_code, headers=raw, body=body)


async def _whole(response: httpx2.Response) -> bytes:
    """The raw bytes, never decoded: what says gzip was not asked for, and may be a bomb."""
    stream = response.stream
    assert isinstance(stream, httpx2.AsyncByteStream)
    body = bytearray()
    try:
        async for chunk in stream:
            body += chunk
            if len(body) > MAX_ANSWER:
                raise NotAnswered("answer", f"the vendor's answer is larger than {MAX_ANSWER} bytes")
    finally:
        await stream.aclose()
    return bytes(body)
