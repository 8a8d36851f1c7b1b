"""What asking works with, handed in by the composition root, and how an answer becomes a recording like any request."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from receiver.intake.http import Whole
from receiver.intake.receive import Intake, recording_of
from receiver.intake.understand import vendor_request
from receiver.sms.drafts import Item
from receiver.storage.answered import Answered
from receiver.storage.catalog import Door
from receiver.storage.database import Database, StorageError, Transaction
from receiver.storage.recording import Recorded, Recording
from receiver.vendors.contract import POLL, Question, Reply

Result = TypeVar("Result")

_NOT_KEPT = frozenset({b"set-cookie"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """send      one question to the API at a base URL; raises NotAnswered
    record    commits one answer with its progress; None where it was dropped
    write     commits a change that comes with no answer
    clock     unix microseconds
    monotonic seconds
    chance    in [0, 1), for jitter
    sleep     for seconds
    """

    intake: Intake
    database: Database
    send: Callable[[str, Question], Awaitable[Reply]]
    record: Callable[[Answered], Awaitable[Recorded | None]]
    write: Callable[[Callable[[Transaction], Awaitable[None]]], Awaitable[None]]
    new_id: Callable[[str], str]
    clock: Callable[[], int]
    monotonic: Callable[[], float]
    chance: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]

    def understood(
        self, door: Door, about: Mapping[str, str], reply: Reply, peer: str
    ) -> tuple[Sequence[Item], Recording]:
        """An answer as the adapter reads it; its receipt tells what was asked, without a credential."""
        path, query = f"/in/{door.vendor.name}/poll".encode(), urlencode(about).encode()
        headers = [pair for pair in reply.headers if pair[0] not in _NOT_KEPT]
        whole = Whole(POLL, path, query, headers, reply.body, peer)
        request = vendor_request(whole, self.intake.public_url, self.clock())
        return recording_of(door, path, request, self.new_id("rcp"))

    async def keep(self, door: Door, answered: Answered) -> None:
        """Raises StorageError when it is not certain that the answer is on disk."""
        try:
            recorded = await self.record(answered)
        except StorageError:
            raise
        except Exception as bug:  # noqa: BLE001 — an event must not take its answer with it
            self.intake.without_events(answered.recording, bug)
            recorded = await self.record(answered)
        if recorded is not None:
            self.intake.told(door, answered.recording)


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""
