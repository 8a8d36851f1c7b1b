"""What the benchmark's look at a purged database would find."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from bench.backlog import now, opened
from bench.purge import check
from receiver.storage.ids import Ids
from receiver.storage.migrate import migrate
from receiver.storage.sqlite import SqliteDatabase

EVENTS, GONE, ACCEPTED = 10, 4, 2
HOUR = 3600 * 1_000_000
AT = now()
BOUND = (AT + GONE * HOUR - HOUR // 2, AT + GONE * HOUR - HOUR // 4)
"""Between the last event that goes and the first that stands, an hour from each other."""
PURGE = """
    DELETE FROM events WHERE seq <= 4;
    DELETE FROM messages WHERE id NOT IN (SELECT message_id FROM events);
    DELETE FROM attempts WHERE delivery_id IN (SELECT id FROM deliveries WHERE event_id NOT IN (SELECT id FROM events));
    DELETE FROM deliveries WHERE event_id NOT IN (SELECT id FROM events);
    DELETE FROM receipts WHERE id NOT IN (SELECT receipt_id FROM events)
"""


def put(database: sqlite3.Connection, ids: Ids, at: int) -> None:
    """An event, with all that belongs to it."""
    event, message, receipt, delivery = (ids.new(kind) for kind in ("evt", "msg", "rcp", "dlv"))
    rows = {
        "events (id, type, accepted_at, receipt_id, message_id, body)": (
            event, "message.received", at, receipt, message, "{}",
        ),
        "messages (id, source_id, vendor, direction, conversation, created_at, updated_at)": (
            message, "src", "twilio", "in", "", at, at,
        ),
        "receipts (id, source_id, vendor, received_at, outcome, peer, method, target, headers, body)": (
            receipt, "src", "twilio", at, "stored", "", "POST", b"", b"", b"",
        ),
        "deliveries (id, subscription_id, event_id, state, attempts, created_at, updated_at)": (
            delivery, "sub", event, "succeeded", 1, at, at,
        ),
        "attempts (delivery_id, number, started_at, duration_ms, answer)": (delivery, 1, at, 1, b""),
    }  # fmt: skip
    for table, values in rows.items():
        database.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})", values)


async def purged(tmp_path: Path) -> tuple[Path, Path]:
    """A database with an event an hour, and what a purge of the first four leaves of it, when two came meanwhile."""
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    whole.mkdir()
    opening = await SqliteDatabase.open(whole / "receiver.db")
    await migrate(opening, lambda: 0)
    await opening.close()
    moment = [0]
    ids = Ids(lambda: moment[0], bytes)
    for number in range(EVENTS + ACCEPTED):
        moment[0] = AT + number * HOUR
        if number == EVENTS:
            shutil.copytree(whole, rest)
        with opened(rest if number >= EVENTS else whole) as database:
            put(database, ids, moment[0])
    with opened(rest) as database:
        database.executescript(PURGE)
    return whole, rest


async def test_a_purge_of_just_what_was_too_old_is_sound(tmp_path: Path):
    check(*await purged(tmp_path), BOUND, ACCEPTED)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (f"{PURGE.replace('seq <= 4', 'seq <= 5')}", "too early"),
        ("DELETE FROM events WHERE seq = 7", "events are left"),
        ("DELETE FROM messages WHERE id = (SELECT message_id FROM events WHERE seq = 7)", "messages are left"),
        ("DELETE FROM receipts WHERE id = (SELECT receipt_id FROM events WHERE seq = 12)", "receipts are left"),
        ("DELETE FROM deliveries WHERE event_id = (SELECT id FROM events WHERE seq = 7)", "without a delivery"),
        ("UPDATE deliveries SET event_id = 'evt_gone' WHERE event_id = (SELECT max(id) FROM events)", "without an event"),
        ("DELETE FROM attempts WHERE delivery_id = (SELECT max(id) FROM deliveries)", "without an attempt"),
        ("INSERT INTO attempts VALUES ('dlv_gone', 1, 0, 0, NULL, NULL, NULL, x'')", "without a delivery"),
        ("UPDATE events SET message_id = 'msg_gone' WHERE seq = 7", "without a message"),
    ],
)  # fmt: skip
async def test_whatever_else_is_gone_or_left_is_found(tmp_path: Path, spoil: str, complaint: str):
    whole, rest = await purged(tmp_path)
    with opened(rest) as database:
        database.executescript(spoil)
    with pytest.raises(AssertionError, match=complaint):
        check(whole, rest, BOUND, ACCEPTED)


async def test_what_stayed_though_it_was_too_old_is_found(tmp_path: Path):
    whole, rest = await purged(tmp_path)
    later = (BOUND[0] + HOUR, BOUND[1] + HOUR)
    with pytest.raises(AssertionError, match="is too old"):
        check(whole, rest, later, ACCEPTED)


async def test_a_purge_that_did_nothing_is_found(tmp_path: Path):
    whole, _ = await purged(tmp_path)
    with pytest.raises(AssertionError, match="nothing is gone"):
        check(whole, whole, (0, 1), 0)
