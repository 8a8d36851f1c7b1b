"""One step of a job, inside one transaction: a window of the log or of deliveries, and what is to be sent of it.

A delivery that is there is opened again, one that is missing is made; how far the job got is written with them.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, Literal

import orjson

from receiver.sms.matching import Matcher, compile_matcher
from receiver.storage import deliveries, jobs, messages, windows
from receiver.storage.catalog import Catalog
from receiver.storage.database import Transaction
from receiver.storage.jobs import Job, Request, Step
from receiver.storage.subscriptions import Subscription
from receiver.storage.windows import Event, Pair, Standing

WINDOW: Final = 500
"""How many deliveries, or pairs of an event and a subscription, one step looks at."""

RECEIVERS: Final = 50
"""Subscriptions that one step is about."""

NewId = Callable[[str], str]

_WISHED: Final = {"dead": "failed", "forbidden": "failed", "held": "held"}
_AGAIN: Final = frozenset({"succeeded", "retrying"})


class _Known:
    """An event whose JSON is read only when somebody asks what is in it."""

    def __init__(self, event: Event) -> None:
        self.event = event

    @cached_property
    def data(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = orjson.loads(self.event.body)["data"]
        return found

    def matches(self, subscription: Subscription) -> bool:
        """What is about the subscription itself is never for it."""
        event_type = self.event.type
        if not subscription.may_want(event_type) or not subscription.matcher(event_type, self.data):
            return False
        return not (event_type.startswith("subscription.") and self.data["subscription_id"] == subscription.id)


class _Narrow:
    """Whether an event is among those that were asked for; with no condition none is looked at."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._matcher: Matcher | None = None
        if request.types is not None or request.filter is not None:
            self._matcher = compile_matcher(request.types or ("*",), request.filter)

    @property
    def anything(self) -> bool:
        return self._matcher is None and self._request.since is None and self._request.until is None

    def __call__(self, known: _Known) -> bool:
        since, until, accepted_at = self._request.since, self._request.until, known.event.accepted_at
        if (since is not None and accepted_at < since) or (until is not None and accepted_at >= until):
            return False
        return self._matcher is None or self._matcher(known.event.type, known.data)


async def take_step(
    transaction: Transaction, job: Job, catalog: Catalog, new_id: NewId, now: int, window: int = WINDOW
) -> Step:
    """Does the next of a running job and writes down how far it got."""
    await catalog.refresh(transaction)
    obstacle = _obstacle(job, catalog)
    if obstacle is not None:
        step = Step(position=job.position, state="canceled", error=obstacle)
    elif job.kind == "recover" and not job.request.through_log:
        step = await _through_deliveries(transaction, job, now, window)
    else:
        step = await _through_log(transaction, job, _receivers(job, catalog), new_id, now, window)
    await jobs.put_down(transaction, job, step, now)
    return step


def _obstacle(job: Job, catalog: Catalog) -> str | None:
    """Why the job cannot go on: what it releases must be sent, but for a new subscription that was made paused."""
    if job.kind == "replay" or job.subscription_id is None:
        return None
    subscription = catalog.subscription(job.subscription_id)
    if subscription is None:
        return "the subscription was removed"
    if subscription.state == "active" or (job.kind == "start" and subscription.state == "paused"):
        return None
    return f"the subscription is {subscription.state}"


def _receivers(job: Job, catalog: Catalog) -> Sequence[Subscription]:
    """Whom the events are for, by id. One that is catching up gets them in their turn."""
    if job.kind != "replay":
        subscription = catalog.subscription(job.subscription_id or "")
        return [subscription] if subscription is not None else []
    named = job.request.subscription_ids
    wanted = catalog.subscriptions if named is None else filter(None, map(catalog.subscription, set(named)))
    able = (item for item in wanted if item.state == "active" and not item.catching_up)
    return sorted(able, key=lambda item: item.id)


async def _through_deliveries(transaction: Transaction, job: Job, now: int, window: int) -> Step:
    subscription_id = job.subscription_id or ""
    rows = await windows.deliveries_behind(
        transaction, subscription_id, job.position, str(job.request.last or ""), window
    )  # fmt: skip
    chosen = [row for row in rows if _WISHED.get(row.state) in job.request.wishes]
    narrow = _Narrow(job.request)
    if chosen and not narrow.anything:
        events = await windows.events_of(transaction, [row.event_id for row in chosen])
        chosen = [row for row in chosen if narrow(_Known(events[row.event_id]))]
    released = await deliveries.reopen(transaction, [row.id for row in chosen], now)
    return Step(
        position=rows[-1].id if rows else job.position,
        done=len(rows),
        released=released,
        touched={subscription_id} if released else set(),
        state="running" if len(rows) == window else "done",
    )


async def _through_log(
    transaction: Transaction, job: Job, receivers: Sequence[Subscription], new_id: NewId, now: int, window: int
) -> Step:  # fmt: skip
    """The position is the last event that is done, and, where its followers are for many, whom they went to so far and
    which of them is the last.
    """
    seq, behind, end = (*job.position.split(" "), "", "")[:3]
    waiting = [item for item in receivers if item.id > behind]
    part, rest = waiting[:RECEIVERS], waiting[RECEIVERS:]
    limit = window if behind else max(1, window // max(1, len(part)))
    last = int(end) if end else job.request.last if isinstance(job.request.last, int) else None
    events = await windows.events_behind(transaction, int(seq), last, limit)
    step = Step(position=job.position)
    await _release(transaction, job, _pairs(job.request, events, part), step, new_id, now)
    if events and rest:
        step.position = f"{seq} {part[-1].id} {events[-1].seq}"
        return step
    if events or end:
        step.position, step.done = end or str(events[-1].seq), len(events)
    if not end and len(events) < limit:  # it must not take another step: while events come, each would find some
        step.state = "done"
    return step


def _pairs(
    request: Request, events: Iterable[Event], receivers: Sequence[Subscription]
) -> Mapping[Pair, tuple[_Known, Subscription, bool]]:
    """What may have to be released, each with whether it matches now."""
    narrow = _Narrow(request)
    whatever = "failed" in request.wishes or "held" in request.wishes
    found: dict[Pair, tuple[_Known, Subscription, bool]] = {}
    for known in filter(narrow, map(_Known, events)):
        for subscription in receivers:
            matches = known.matches(subscription)
            if matches or whatever:
                found[known.event.id, subscription.id] = known, subscription, matches
    return found


async def _release(
    transaction: Transaction, job: Job, pairs: Mapping[Pair, tuple[_Known, Subscription, bool]], step: Step,
    new_id: NewId, now: int,
) -> None:  # fmt: skip
    there = await windows.standing(transaction, list(pairs))
    reopened: list[str] = []
    missing: dict[str, list[_Known]] = defaultdict(list)
    for pair, (known, subscription, matches) in pairs.items():
        found = there.get(pair)
        fate = _fate(job, found, matches=matches)
        if found is not None and fate == "reopen":
            reopened.append(found.id)
            step.touched.add(subscription.id)
        elif fate == "make":
            missing[subscription.id].append(known)
            step.touched.add(subscription.id)
    step.released += await deliveries.reopen(transaction, reopened, now)
    by_id = {subscription.id: subscription for _, subscription, _ in pairs.values()}
    for subscription_id, events in missing.items():
        step.released += await _make(transaction, by_id[subscription_id], events, new_id, now)


def _fate(job: Job, found: Standing | None, *, matches: bool) -> Literal["make", "reopen"] | None:
    wishes: Collection[str] = job.request.wishes
    if found is None:
        return "make" if matches and job.request.through_log else None
    wished = _WISHED.get(found.state)
    if wished in wishes or (wished and matches and "all" in wishes):
        return "reopen"
    if matches and "all" in wishes and found.state in _AGAIN:  # another job that was asked beside this one
        return "reopen" if found.opened_at < job.created_at else None
    return None


async def _make(
    transaction: Transaction, subscription: Subscription, events: Sequence[_Known], new_id: NewId, now: int
) -> int:
    named = [known.event.message_id for known in events if known.event.message_id is not None]
    keys = await messages.conversations(transaction, sorted(set(named))) if subscription.ordered else {}
    items = [(new_id("dlv"), known.event.id, keys.get(known.event.message_id or "")) for known in events]
    return await deliveries.owe(transaction, subscription, items, now)
