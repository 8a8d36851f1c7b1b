"""`/in/{vendor}/{token}`: read, verify, parse, record, and only after COMMIT the vendor's own answer.

Trouble with HTTP itself is a 4xx; content that is not understood is kept in quarantine and answered with the vendor's
success; trouble of our own is 503, which vendors try again.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from receiver.intake.checks import check_basic, check_network
from receiver.intake.http import (
    DISCARD_SECONDS,
    ClientGone,
    RawHeaders,
    Receive,
    Refusal,
    Scope,
    Send,
    Whole,
    check_headers,
    discard,
    read_body,
    respond,
)
from receiver.intake.slices import Slices
from receiver.intake.understand import understand, vendor_request
from receiver.observe import log
from receiver.sms.compose import Entry, quarantine
from receiver.sms.drafts import Item
from receiver.storage.catalog import Door
from receiver.storage.database import StorageError
from receiver.storage.receipts import Outcome, Receipt
from receiver.storage.recording import Recorded, Recording
from receiver.throttle import unlimited
from receiver.vendors.contract import EMPTY_200, Answer, BadSignature, VendorRequest

BODY_SECONDS = 10.0
_RETRY_AFTER = ((b"retry-after", b"5"),)
_TOO_LARGE_OR_SLOW = frozenset({408, 413})
_UNPROVEN = frozenset({401, 403, 404})
"""Of an address that no source has, or without the proof that its source asks for."""


Answered = Callable[[Answer, RawHeaders], None]


class Doors(Protocol):
    """Where tokens are looked up; the catalog in the application."""

    def door(self, token: str) -> Door | None: ...

    def shut(self, token: str) -> bool: ...


class Count(Protocol):
    def __call__(self, name: str, /, **labels: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """An ASGI application for the vendors' side.

    record      commits one recording and says what became of it; raises StorageError
    new_id      an id of the given kind
    clock       unix microseconds
    public_url  the address that vendors know, without a trailing slash
    prefix      the steps of PUBLIC_URL's own path: a proxy before us may keep them or take them away
    refused     told of a source whose request was refused, and why
    failed      told of a peer without proof; for how many seconds it is told no more than 429, 0 for none
    """

    doors: Doors
    record: Callable[[Recording], Awaitable[Recorded]]
    new_id: Callable[[str], str]
    clock: Callable[[], int]
    count: Count
    refused: Callable[[str, str], None]
    public_url: str
    max_body_bytes: int
    failed: Callable[[str], float] = unlimited
    prefix: tuple[bytes, ...] = ()
    body_seconds: float = BODY_SECONDS
    discard_seconds: float = DISCARD_SECONDS
    slices: Slices = field(default_factory=Slices)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: RawHeaders = ()
        try:
            answer = await self._answer(scope, receive)
        except Refusal as trouble:
            refusal = self._refused(trouble, _peer(scope))
            answer, headers = Answer(status=refusal.status), refusal.headers
            if refusal.status in _TOO_LARGE_OR_SLOW:
                headers = (*headers, (b"connection", b"close"))
                await respond(send, answer, headers)
                await discard(receive, self.discard_seconds)
                return
        except ClientGone:
            self.count("intake_gone")
            return
        await respond(send, answer, headers)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        door = self._find(scope["raw_path"])
        method = scope["method"]
        if method == "HEAD":
            return EMPTY_200
        if method not in door.vendor.methods:
            allowed = ", ".join((*door.vendor.methods, "HEAD"))
            raise Refusal(405, "method", ((b"allow", allowed.encode("ascii")),))
        peer = _peer(scope)
        check_network(peer, door.source)
        body = await read_body(scope, receive, self.max_body_bytes, self.body_seconds)
        whole = Whole(method, scope["raw_path"], scope["query_string"], scope["headers"], body, peer)
        answer, recording = self._read(door, whole)
        await self._commit(door, recording)
        return answer

    def straight(self, whole: Whole, answered: Answered) -> bool:
        """The same for a request that is all there, without a task, a scope and messages of its own.

        False where something is odd about it; nothing was done then, and the long way is to be gone.
        """
        try:
            door = self._find(whole.path)
            if whole.method not in door.vendor.methods or len(whole.body) > self.max_body_bytes:
                return False
            check_network(whole.peer, door.source)
            check_headers(whole.headers, self.max_body_bytes)
        except Refusal:
            return False
        self.slices.put(partial(self._take, door, whole, answered))
        return True

    def _take(self, door: Door, whole: Whole, answered: Answered) -> None:
        """`_read` and `_commit` of the straight way."""
        try:
            answer, recording = self._read(door, whole)
            self._keep(door, recording, partial(self._kept, door, recording, answer, answered, whole.peer))
        except Refusal as trouble:
            self._turn_away(trouble, whole.peer, answered)
        except Exception as bug:  # noqa: BLE001 — nobody else would ever answer
            self._turn_away(_not_kept(door, bug), whole.peer, answered)

    def _keep(self, door: Door, recording: Recording, kept: Callable[["asyncio.Future[Recorded]"], None]) -> None:
        try:
            asyncio.ensure_future(self.record(recording)).add_done_callback(kept)
        except StorageError as error:
            raise _not_kept(door, error) from None

    def _kept(
        self, door: Door, recording: Recording, answer: Answer, answered: Answered, peer: str,
        kept: "asyncio.Future[Recorded]", *, first: bool = True,
    ) -> None:  # fmt: skip
        error = kept.exception()
        try:
            if error is None:
                self.told(door, recording)
                answered(answer, ())
            elif first and isinstance(error, Exception) and not isinstance(error, StorageError):
                self.without_events(recording, error)
                again = partial(self._kept, door, recording, answer, answered, peer, first=False)
                self._keep(door, recording, again)
            else:
                raise _not_kept(door, error)
        except Refusal as trouble:
            self._turn_away(trouble, peer, answered)

    def _turn_away(self, trouble: Refusal, peer: str, answered: Answered) -> None:
        refusal = self._refused(trouble, peer)
        answered(Answer(status=refusal.status), refusal.headers)

    def _refused(self, trouble: Refusal, peer: str) -> Refusal:
        """What the caller is told, counted."""
        refusal = self._without_proof(trouble, peer) if trouble.status in _UNPROVEN else trouble
        self.count("intake_refused", status=str(refusal.status))
        return refusal

    def _find(self, raw_path: bytes) -> Door:
        """The source of `/in/{vendor}/{token}`; doubled or trailing slashes are no reason to lose a message."""
        head, _, token = raw_path.rpartition(b"/")
        door = self.doors.door(token.decode("latin-1"))
        if door is not None and head == b"/in/" + door.vendor.name.encode():
            return door
        steps = [step for step in raw_path.split(b"/") if step]
        if len(steps) < 3 or steps[-3] != b"in" or (len(steps) > 3 and tuple(steps[:-3]) != self.prefix):
            raise Refusal(404, "unknown address")
        last = steps[-1].decode("latin-1")
        door = self.doors.door(last)
        if door is None and self.doors.shut(last):
            raise Refusal(503, "this version cannot read the source", _RETRY_AFTER)
        if door is None or door.vendor.name != steps[-2].decode("latin-1"):
            raise Refusal(404, "unknown address")
        return door

    def _verify(self, door: Door, request: VendorRequest) -> None:
        try:
            check_basic(request, door.source)
            door.vendor.verify(request, door.source)
        except BadSignature as error:
            raise Refusal(401, str(error), source_id=door.source.id) from None
        except Refusal:
            raise
        except Exception as bug:  # noqa: BLE001 — neither trusted nor refused: a 4xx would be the end of the message
            log("adapter.failed", level="error", exc=bug, vendor=door.vendor.name)
            raise Refusal(503, "the adapter could not tell whether to trust this", _RETRY_AFTER) from None

    def _without_proof(self, refusal: Refusal, peer: str) -> Refusal:
        """The refusal itself, or, where this peer has had enough of them, one that is cheap and fills no log."""
        wait = self.failed(peer)
        if refusal.source_id is not None:
            self.refused(refusal.source_id, refusal.reason)
            if not wait:
                log("request.refused", level="warning", source_id=refusal.source_id, reason=refusal.reason)
        if not wait:
            return refusal
        return Refusal(429, "too many failures", ((b"retry-after", b"%d" % math.ceil(wait)),))

    def _read(self, door: Door, whole: Whole) -> tuple[Answer, Recording]:
        """What is to be recorded of a request, and what to answer when it is on disk. Raises Refusal."""
        request = vendor_request(whole, self.public_url, self.clock())
        self._verify(door, request)
        receipt_id = self.new_id("rcp")
        answer = self._handshake(door, request)
        if answer is not None:
            return answer, _recording(door, whole.path, request, receipt_id, (), "handshake")
        items, recording = recording_of(door, whole.path, request, receipt_id)
        return _success(door, request, items), recording

    def _handshake(self, door: Door, request: VendorRequest) -> Answer | None:
        """The answer to the vendor's proof-of-ownership question; None when the request is none."""
        handshake = door.vendor.handshake
        if handshake is None:
            return None
        try:
            return handshake(request, door.source)
        except BadSignature as error:
            raise Refusal(401, str(error), source_id=door.source.id) from None
        except Exception as bug:  # noqa: BLE001 — then `parse` must see what it can make of it
            log("adapter.failed", level="error", exc=bug, vendor=door.vendor.name)
            return None

    async def _commit(self, door: Door, recording: Recording) -> None:
        """Raises Refusal 503 when it is not certain that the request is on disk."""
        try:
            try:
                await self.record(recording)
            except StorageError:
                raise
            except Exception as bug:  # noqa: BLE001 — an event must not take its request with it
                self.without_events(recording, bug)
                await self.record(recording)
        except Exception as error:  # noqa: BLE001 — whatever it is, the vendor must keep the request and try again
            raise _not_kept(door, error) from None
        self.told(door, recording)

    def told(self, door: Door, recording: Recording) -> None:
        self.count("receipts", outcome=recording.receipt.outcome, vendor=door.vendor.name)
        log("receipt", level="debug", receipt_id=recording.receipt.id, outcome=recording.receipt.outcome)

    def without_events(self, recording: Recording, bug: Exception) -> None:
        """Where the events of a request cannot be recorded, it is kept in quarantine."""
        log("record.failed", level="error", exc=bug, receipt_id=recording.receipt.id)
        recording.entries = ()
        _quarantined(recording, "the event could not be recorded; see the log by the receipt's id")


def recording_of(
    door: Door, path: bytes, request: VendorRequest, receipt_id: str
) -> tuple[Sequence[Item], Recording]:  # fmt: skip
    """What the adapter made of the request, ready to record; what it could not read is quarantine."""
    understood = understand(door, request, receipt_id)
    recording = _recording(door, path, request, receipt_id, understood.entries, "stored")
    if understood.error is not None:
        _quarantined(recording, understood.error)
    elif not understood.entries:
        recording.outcome, recording.note = "ignored", understood.ignored
    return understood.items, recording


def _not_kept(door: Door, error: BaseException) -> Refusal:
    log("request.not_kept", level="warning", exc=error, source_id=door.source.id)
    return Refusal(503, "not kept", _RETRY_AFTER)


def _quarantined(recording: Recording, error: str) -> None:
    received_at, receipt_id = recording.receipt.received_at, recording.receipt.id
    told = quarantine(error, recording.digest, recording.origin, received_at, receipt_id)
    recording.outcome, recording.note = "quarantined", told.data["error"]
    recording.entries = [*recording.entries, told]


def _recording(
    door: Door, path: bytes, request: VendorRequest, receipt_id: str, entries: Sequence[Entry], outcome: Outcome
) -> Recording:
    receipt = Receipt(
        id=receipt_id,
        source_id=door.source.id,
        vendor=door.vendor.name,
        received_at=request.received_at,
        peer=request.peer,
        method=request.method,
        target=path + b"?" + request.query if request.query else path,
        headers=b"\r\n".join(map(b": ".join, request.headers)),
        body=request.body,
    )
    return Recording(receipt=receipt, origin=door.origin, entries=entries, outcome=outcome, note=None)


def _success(door: Door, request: VendorRequest, items: Sequence[Item]) -> Answer:
    """The vendor's own answer to what is kept; a plain success where the adapter fails at it."""
    try:
        return door.vendor.answer(request, items)
    except Exception as bug:  # noqa: BLE001 — an answer that cannot be made must not lose what it answers
        log("adapter.failed", level="error", exc=bug, vendor=door.vendor.name)
        return EMPTY_200


def _peer(scope: Scope) -> str:
    client: Sequence[str] | None = scope.get("client")
    return client[0] if client else ""
