"""DELETE /v1/subjects/{number}, for what comes later: waiting parts, what is made of old requests, what is asked for."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from receiver.intake.assemble import Assembler
from receiver.storage.amend import Amender
from receiver.storage.database import Reader
from receiver.storage.erasing import Erasure, Look, Place
from receiver.storage.owing import no_room
from receiver.storage.places import places
from tests.api.erasing import OTHER, OURS, PERSON, SECRET, ask, change, erased, eraser, fetch, files, forms
from tests.api.running import Api, running_api

NAMES = ("vendor_message_id", "from", "to", "text", "part_reference", "part_number", "part_total")


async def source_of(api: Api, **options: Any) -> dict[str, Any]:
    return await api.mapped_source(options={"fields": {name: name for name in NAMES}, **options})


async def part(api: Api, source: Any, number: int, sender: str = PERSON, text: str = SECRET, **given: Any) -> None:
    fields = {"from": sender, "to": OURS, "text": text, "part_reference": "7", "part_number": number, "part_total": 2}
    assert await api.receive(source, orjson.dumps(fields | given)) == 200


async def assemble(api: Api) -> None:
    amender = Amender(api.context.catalog, api.context.ids, no_room)
    one = Assembler(batch=api.context.batch, amender=amender, clock=api.context.clock, hand_over=lambda _: None)
    while (await one.step()).more:
        pass


async def texts(api: Api) -> Sequence[Any]:
    page = (await api.client.get("/v1/events?type=message.received")).json()
    return [event["data"]["text"] for event in page["data"]]


async def test_parts_that_wait_are_erased_and_never_an_event(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api)
        await part(api, source, 1)
        await part(api, source, 1, OTHER, "of the other")
        await erased(api)
        left = await fetch(api, "SELECT content, part IS NULL FROM message_parts ORDER BY receipt_id")
        assert ([row[0] == "" for row in left], [row[1] for row in left]) == ([True, False], [1, 0])
        for name, content in files(tmp_path).items():
            assert [form for form in forms("+" + PERSON, PERSON[2:], SECRET) if form in content] == [], name
        assert [row[0] is None for row in await fetch(api, "SELECT key FROM long_messages ORDER BY message_id")] == [
            True, False,
        ]  # fmt: skip
        await part(api, source, 2)
        await part(api, source, 2, OTHER, " one")
        await assemble(api)
        assert await texts(api) == ["of the other one"]


async def test_parts_that_are_joined_after_it_was_asked_are_erased_with_what_they_became(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api)
        for number in (1, 2):
            await part(api, source, number)
        await ask(api)
        await assemble(api)
        assert await texts(api) == [SECRET * 2]
        for number in (1, 2):  # and these are new
            await part(api, source, number, text="anew", part_reference="8")
        await assemble(api)
        assert await eraser(api).once()
        assert await texts(api) == [None, "anewanew"]
        assert [form for form in forms(SECRET) for content in files(tmp_path).values() if form in content] == []
        contents = await fetch(api, "SELECT content FROM message_parts ORDER BY receipt_id")
        assert [content == "" for (content,) in contents] == [True, True, False, False]
        keys = [row[0][0] for row in await fetch(api, "SELECT key FROM identities ORDER BY key")]
        assert len(keys) == 2  # of the new parts


async def test_what_was_erased_is_not_read_again(tmp_path: Path):
    async with running_api(tmp_path) as api:
        source = await source_of(api)
        await part(api, source, 1)
        await erased(api)
        asked = await api.client.post("/v1/receipts/reparse", json={"dry_run": True})
        assert asked.is_success, asked.text
        assert [item["skipped"] for item in asked.json()["data"]] == ["erased"]
        assert await fetch(api, "SELECT note FROM receipts") == [("erased",)]


async def test_nobody_asks_for_what_is_named_by_the_number_and_errors_forget_it(tmp_path: Path):
    async with running_api(tmp_path) as api:
        add = "INSERT INTO lookups (source_id, name, vendor_message_id, since, tries) VALUES (?, ?, ?, 0, 0)"
        for name in (f"x-{PERSON}-1", f"x-{OTHER}-1"):
            await change(api, add, "src_1", name, name)
        poll = "INSERT INTO polls (source_id, feed, position, next_at, asked_at, failures, error) VALUES (?, ?, '', 0, 0, 1, ?)"
        for feed, number in (("a", PERSON), ("b", OTHER)):
            await change(api, poll, "src_1", feed, f"+{number} is no date")
        await erased(api)
        assert await fetch(api, "SELECT name FROM lookups") == [(f"x-{OTHER}-1",)]
        assert await fetch(api, "SELECT error FROM polls ORDER BY feed") == [(None,), (f"+{OTHER} is no date",)]


async def test_parts_that_are_joined_while_it_goes_on_have_nothing_left_to_say(tmp_path: Path):
    class Joining:
        """A place behind which parts are joined that were due all the time."""

        def __init__(self, place: Place) -> None:
            self._place, self.name, self.erase = place, place.name, place.erase

        async def look(self, reader: Reader, erasure: Erasure, position: str, limit: int) -> Look:
            found = await self._place.look(reader, erasure, position, limit)
            await assemble(api)
            return found

    async with running_api(tmp_path) as api:
        source = await source_of(api)
        for number in (1, 2):
            await part(api, source, number)
        chosen = [Joining(place) if place.name == "amended" else place for place in places()]
        await erased(api, places=chosen)
        assert await texts(api) == []
