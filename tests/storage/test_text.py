"""Texts are kept as they came, on every engine alike; what one of them cannot hold is replaced before it gets there."""

from pathlib import Path

import pytest

from receiver.storage import events
from receiver.storage.events import Wanted
from tests.pipeline import JSON, TOKEN, pipeline

pytestmark = pytest.mark.usefixtures("engine")

TEXTS = {
    "U+0000": (rb"a\u0000b", "a\ufffdb"),
    "a lone surrogate": (rb"a\ud800b", "a\ufffdb"),
    "a pair of surrogates": (rb"\ud83d\udc69", "\U0001f469"),
    "joined emoji": ("👩‍👩‍👧‍👦".encode(), "👩‍👩‍👧‍👦"),
    "combining marks": ("é e\u0301".encode(), "é e\u0301"),
    "right to left": ("\u202eabc".encode(), "\u202eabc"),
    "quotes": (rb"' OR 1=1 -- \\ $1 ? %s", "' OR 1=1 -- \\ $1 ? %s"),
    "the last of all": ("\U0010ffff".encode(), "\U0010ffff"),
}


@pytest.mark.parametrize("name", TEXTS)
async def test_a_text_is_kept(tmp_path: Path, name: str):
    sent, kept = TEXTS[name]
    body = b'{"vendor_message_id": "m1", "from": "447700900123", "to": "447700900456", "text": "' + sent + b'"}'
    async with pipeline(tmp_path) as way:
        way.open()
        told = await way.send("POST", f"/in/generic/{TOKEN}", headers=JSON, body=body)
        assert told.status == 200
        assert told.events[0]["data"]["text"] == kept
        assert told.receipt is not None
        stored = await way.receipt(told.receipt.id)
        assert stored is not None
        assert stored.body == body


async def test_addresses_and_ids_are_ordered_by_their_bytes(tmp_path: Path):
    """Not by a language: `Z` is before `a`, and a prefix finds all that begin with it."""
    names = ["ACME", "Zorro", "acme", "Äcme", "acm", "acme-2", "+447700900123"]
    async with pipeline(tmp_path) as way:
        way.open()
        for number, name in enumerate(names):
            await way.tell(vendor_message_id=f"m{number}", **{"from": name, "to": "447700900456", "text": "x"})
        found = [row[0] for row in await way.fetch("SELECT from_address FROM events ORDER BY from_address")]
        assert found == sorted(found)
        async with way.database.reading() as reader:
            assert len(await events.page(reader, Wanted(from_="acme*"), after=None, limit=9)) == 2
            assert len(await events.page(reader, Wanted(from_="*"), after=None, limit=9)) == 7
