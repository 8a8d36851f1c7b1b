"""Long messages whose parts come in whatever order, again, late or over a restart."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from receiver.sms.timestamps import from_text
from tests.intake.test_assemble import WAIT, later, send
from tests.pipeline import pipeline

ACTIONS = st.lists(
    st.tuples(st.sampled_from(("a", "b")), st.integers(1, 4)) | st.sampled_from(("wait", "look", "restart")),
    max_size=20,
)


async def played(folder: Path, actions: list[Any]) -> list[dict[str, Any]]:
    """The whole log after parts of two messages came like that, some of them over a restart."""
    now = None
    left = [*actions, "wait", "look"]
    while left:
        async with pipeline(folder) as way:
            way.now = now or way.now
            way.open()
            while left:
                match left.pop(0):
                    case "restart":
                        break
                    case "wait":
                        later(way, WAIT)
                    case "look":
                        await way.assemble()
                    case (name, number):
                        later(way, 1)
                        await send(
                            way, number, f"{name}{number}", 4, part_reference=name, vendor_message_id=f"{name}{number}"
                        )
            now = way.now
            events = await way.events()
    return events


@given(ACTIONS)
@settings(max_examples=25, deadline=None)
def test_whatever_the_order_the_repeats_and_the_gaps_each_message_stands_once(actions: list[Any]):
    with tempfile.TemporaryDirectory() as folder:
        events = asyncio.run(played(Path(folder), actions))
    superseded = [event["supersedes"] for event in events if event["supersedes"]]
    assert len(superseded) == len(set(superseded))
    assert set(superseded) <= {event["id"] for event in events}
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)
    standing = [event["data"] for event in events if event["id"] not in superseded]
    sent = {name: sorted({number for name_, number in (a for a in actions if isinstance(a, tuple)) if name_ == name})
            for name in ("a", "b")}  # fmt: skip
    assert sorted(data["text"] for data in standing) == sorted(
        "".join(f"{name}{number}" for number in numbers) for name, numbers in sent.items() if numbers
    )
    for data in standing:
        numbers = sent[data["text"][0]]
        missing = [number for number in range(1, 5) if number not in numbers]
        assert (data["part"]["missing"] if data["part"] else []) == missing
    for event in events:
        assert from_text(event["data"]["received_at"])
