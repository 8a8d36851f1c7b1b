"""One question over HTTP: only where the guard lets it, whole, and without a word of its URL in any error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from receiver.egress import Guard, Transport
from receiver.intake.poll import MAX_ANSWER, send
from receiver.vendors.contract import NotAnswered, Question
from tests.polling.server import Asked, Says, serving

SECRET = Question(path="/json?username=u&password=s3cr3t", about={})


class Saying:
    def __init__(self, says: Says) -> None:
        self.says = says

    def answer(self, asked: Asked) -> Says:
        return self.says


@asynccontextmanager
async def way(*allowed: str, answer_bytes: int = MAX_ANSWER + 1) -> AsyncIterator[Transport]:
    transport = Transport(Guard([ip_network(it) for it in allowed]), deadline=None, answer_bytes=answer_bytes)
    try:
        yield transport
    finally:
        await transport.aclose()


async def refused(transport: Transport, url: str, question: Question = SECRET, **given: float) -> NotAnswered:
    with pytest.raises(NotAnswered) as caught:
        await send(transport, url, question, **given)
    assert "s3cr3t" not in str(caught.value)
    return caught.value


async def test_a_question_goes_out_as_it_is_and_its_reply_comes_whole() -> None:
    body = bytes(range(256)) * 4000
    async with serving(Saying(Says(200, body, {"X-Some": "thing"}))) as fake, way("127.0.0.0/8") as transport:
        question = Question(
            method="POST", path="/a/b?c=d%20e&f=%2B", about={}, headers=(("Authorization", "JWT x"),), body=b"what?"
        )
        reply = await send(transport, fake.url, question)
        assert (reply.status, reply.body) == (200, body)
        assert (b"x-some", b"thing") in reply.headers
        (asked,) = fake.asked
        assert (asked.method, asked.path, asked.body) == ("POST", "/a/b", b"what?")
        assert asked.query == {"c": "d e", "f": "+"}
        assert asked.headers["authorization"] == "JWT x"


async def test_an_answer_beyond_the_limit_is_none() -> None:
    async with serving(Saying(Says(200, b"x" * (MAX_ANSWER + 1)))) as fake, way("127.0.0.0/8") as transport:
        trouble = await refused(transport, fake.url)
        assert (trouble.kind, "larger than" in str(trouble)) == ("answer", True)


async def test_an_address_that_is_not_allowed_is_not_called() -> None:
    async with serving(Saying(Says())) as fake, way() as transport:
        trouble = await refused(transport, fake.url)
        assert trouble.kind == "network"
        assert "127.0.0.1" in str(trouble)
        assert fake.asked == []


async def test_a_redirect_is_not_followed() -> None:
    async with (
        serving(Saying(Says(302, b"", {"location": "http://127.0.0.1:1/"}))) as fake,
        way("127.0.0.0/8") as transport,
    ):
        assert (await send(transport, fake.url, SECRET)).status == 302


async def test_silence_ends_with_the_deadline() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with way("127.0.0.0/8") as transport:
        trouble = await refused(transport, url, deadline=0.1)
        assert (trouble.kind, str(trouble)) == ("network", "no whole answer within 0.1 s")
    server.close()
    await asyncio.sleep(0.01)


async def test_nobody_there_is_told() -> None:
    async with way("127.0.0.0/8") as transport:
        assert (await refused(transport, "http://127.0.0.1:1")).kind == "network"


async def test_a_url_that_cannot_be_requested_is_told() -> None:
    async with way() as transport:
        trouble = await refused(
            transport, "https://vendor.example", Question(path="/x?password=s3cr3t" + "a" * 5000, about={})
        )
        assert str(trouble).startswith("the question cannot be sent: its URL longer than")
