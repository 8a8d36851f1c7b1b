"""A receiver that tells a vendor of success when it has understood a message, and commits it a moment later."""

import asyncio
from dataclasses import replace
from typing import Any

from receiver.app import App, create_app
from receiver.settings import Settings
from receiver.storage.database import Erasable
from receiver.world import World
from tests.faults.planted.serving import serve

LATER_SECONDS = 0.005


class Hasty(App):
    """Its intake does not wait for what it records."""

    def _build(self, database: Erasable) -> None:
        super()._build(database)
        record, self._soon = self._intake.record, set[asyncio.Task[None]]()

        async def later(recording: Any) -> None:
            await asyncio.sleep(LATER_SECONDS)
            await record(recording)

        async def at_once(recording: Any) -> Any:
            task = asyncio.create_task(later(recording))
            self._soon.add(task)
            task.add_done_callback(self._soon.discard)

        self._intake = replace(self._intake, record=at_once)


def build(settings: Settings) -> App:
    return Hasty(settings, World(), create_app(settings).transport)


if __name__ == "__main__":
    serve(build)
