"""What is known of a message: its state, and the conversation that it belongs to for good."""

from pathlib import Path
from typing import Any

import pytest

from receiver.sms.state import State
from receiver.storage import messages
from tests.storage.opening import fetch, opened
from tests.storage.test_deliveries import do

pytestmark = pytest.mark.usefixtures("engine")


def a_message(identifier: str, conversation: str = "c", state: State | None = None, **given: Any) -> tuple[Any, ...]:
    known = {"vendor_message_id": None, "client_reference": None, "batch_id": None, "from": None, "to": None} | given
    return (
        identifier, "src_1", "generic", "out" if state else "in", known["vendor_message_id"],
        known["client_reference"], known["batch_id"], "sms", known["from"], known["to"], conversation,
        state.status if state else None, int(state.final) if state else None, state.key if state else None,
        state.parts if state else None, 1, 1,
    )  # fmt: skip


SENT = State(status="sent", final=False, key="1", parts=None)
DONE = State(status="delivered", final=True, key="9", parts="{}")


async def test_the_conversation_of_each_message_is_found_by_its_id(tmp_path: Path):
    async with opened(tmp_path) as database:
        await do(database, messages.save, [a_message("m1", "c"), a_message("m2", "d"), a_message("m3", "c")])
        found = await do(database, messages.conversations, ["m1", "m2", "nobody's"])
        assert found == {"m1": "c", "m2": "d"}
        assert await do(database, messages.conversations, []) == {}


async def test_more_messages_than_one_statement_takes_are_found_all(tmp_path: Path):
    names = [f"m{number:05}" for number in range(2_500)]
    async with opened(tmp_path) as database:
        await do(database, messages.save, [a_message(name, name) for name in names])
        assert await do(database, messages.conversations, names) == dict(zip(names, names, strict=True))


async def test_the_conversation_is_fixed_when_the_message_is_made(tmp_path: Path):
    async with opened(tmp_path) as database:
        await do(database, messages.save, [a_message("m1", "first", SENT)])
        await do(database, messages.save, [a_message("m1", "second", DONE)])
        assert await do(database, messages.conversations, ["m1"]) == {"m1": "first"}


async def test_the_state_is_the_one_that_was_saved_last_and_only_reports_make_one(tmp_path: Path):
    async with opened(tmp_path) as database:
        await do(database, messages.save, [a_message("m1", state=SENT), a_message("m2")])
        assert await do(database, messages.states, ["m1", "m2", "nobody's"]) == {"m1": SENT}
        await do(database, messages.save, [a_message("m1", state=DONE)])
        assert await do(database, messages.states, ["m1"]) == {"m1": DONE}


async def test_what_was_not_known_is_filled_in_and_what_was_known_stays(tmp_path: Path):
    columns = "SELECT vendor_message_id, client_reference, batch_id, from_address, to_address FROM messages"
    later = {"vendor_message_id": "v2", "client_reference": "r2", "batch_id": "b2", "from": "+442", "to": "+332"}
    async with opened(tmp_path) as database:
        await do(database, messages.save, [a_message("m1", state=SENT, vendor_message_id="v1", to="+331")])
        await do(database, messages.save, [a_message("m1", state=SENT, **later)])
        assert await fetch(database, columns) == [("v1", "r2", "b2", "+442", "+331")]
        await do(database, messages.save, [a_message("m1", state=SENT)])
        assert await fetch(database, columns) == [("v1", "r2", "b2", "+442", "+331")]
