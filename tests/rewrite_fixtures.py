"""`make fixtures`: writes what the fixtures' requests become now into their `.json`, for review by eye.

Only `outcome`, `note`, `answer` and `events` are written. Nothing here judges: read the difference before committing it.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import orjson

from receiver.fixtures import Fixture, find, folder, load_all
from tests.pipeline import Answered, pipeline, without_our_ids


async def play(fixture: Fixture) -> Answered:
    """The fixture's request after those that came before it."""
    chain = [fixture]
    while (before := chain[0].expected.after) is not None:
        chain.insert(0, find(f"{fixture.vendor}.{before}"))
    with tempfile.TemporaryDirectory() as place:
        async with pipeline(Path(place)) as way:
            answers = [await way.post(item) for item in chain]
    return answers[-1]


async def rewrite(fixture: Fixture) -> bool:
    """True when the file changed."""
    answered = await play(fixture)
    path = folder() / fixture.vendor / f"{fixture.case}.json"
    document = orjson.loads(path.read_bytes())
    answer = {
        "status": answered.status,
        "content_type": answered.headers.get("content-type"),
        "body": answered.body.decode(),
    }
    document |= {
        "outcome": answered.receipt.outcome if answered.receipt else "refused",
        "note": answered.receipt.note if answered.receipt else None,
        "answer": answer,
        "events": [without_our_ids(event) for event in answered.events],
    }
    text = orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    changed = text != path.read_bytes()
    path.write_bytes(text)
    return changed


async def main(vendors: list[str]) -> None:
    for fixture in load_all():
        if (not vendors or fixture.vendor in vendors) and await rewrite(fixture):
            sys.stdout.write(f"{fixture.name}\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
