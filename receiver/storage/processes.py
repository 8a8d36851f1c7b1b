"""Processes that share a database: each has a number and is believed alive for a while, which it renews.

A delivery that is `sending` is held by the process of that number. Once a process is believed no more, whoever looks
first gives what it held to all; and what it still records of that counts for nothing, because nothing is its any more.
"""

from typing import Final

from receiver.storage import deliveries
from receiver.storage.database import Reader, Transaction

LEASE: Final = 60_000_000
"""Microseconds for which a process is believed."""
RENEWED: Final = 20.0
"""Seconds after which it says that it lives."""

_GIVEN_AWAY: Final = 20_000
"""Deliveries that one transaction gives away: what a process held may be far more than can be written in the time that
one has.
"""
_DEAD: Final = -1
"""In place of the time until which a process is believed: it is taken over, and cannot come back."""

_LOCK: Final = ("processes",)
"""Whoever joins, and whoever gives away what nobody holds, do not see half of each other."""


async def join(transaction: Transaction, now: int, *, alone: bool) -> int:
    """The number of a process that starts; one that is `alone` takes everything from those before it."""
    await transaction.lock(_LOCK)
    if alone:
        await transaction.fetch("DELETE FROM processes")
        await deliveries.void_leases(transaction, now)
    else:
        await _give_away(transaction, now)
    rows = await transaction.fetch(
        "INSERT INTO processes (started_at, alive_until) VALUES (?, ?) RETURNING number", now, now + LEASE
    )
    return int(rows[0][0])


async def renew(transaction: Transaction, number: int, now: int) -> bool:
    """False when it came too late: others hold now what was this process'."""
    rows = await transaction.fetch(
        "UPDATE processes SET alive_until = ? WHERE number = ? AND alive_until <> ? RETURNING number",
        now + LEASE, number, _DEAD,
    )  # fmt: skip
    return bool(rows)


async def leave(transaction: Transaction, number: int, now: int) -> None:
    """What it may still hold is anybody's."""
    await transaction.lock(_LOCK)
    await transaction.fetch("UPDATE processes SET alive_until = ? WHERE number = ?", _DEAD, number)
    await _give_away(transaction, now)


async def followed(transaction: Transaction, number: int, job_id: str) -> None:
    """Nothing that this process holds in memory is of before that erasure."""
    await transaction.fetch("UPDATE processes SET revised = ? WHERE number = ?", job_id, number)


async def all_followed(reader: Reader, job_id: str, now: int) -> bool:
    """Whether that is so for every process. One that is believed no more begins nothing of what it holds."""
    behind = await reader.fetch(
        "SELECT 1 FROM processes WHERE alive_until >= ? AND coalesce(revised, '') <> ? LIMIT 1", now, job_id
    )
    return not behind


async def take_over(transaction: Transaction, now: int) -> int:
    """Looks after those that are believed no more; how many deliveries wait for anybody because of that. Where those
    are many, there may be more: the next look goes on.
    """
    rows = await transaction.fetch("SELECT 1 FROM processes WHERE alive_until < ? LIMIT 1", now)
    if not rows:
        return 0
    await transaction.lock(_LOCK)
    return await _give_away(transaction, now)


async def oldest(reader: Reader) -> int | None:
    """The number of the one that was first."""
    ((number,),) = await reader.fetch("SELECT min(number) FROM processes WHERE alive_until <> ?", _DEAD)
    return None if number is None else int(number)


async def among(reader: Reader) -> int:
    """How many there are, the one that looks among them."""
    ((number,),) = await reader.fetch("SELECT count(*) FROM processes WHERE alive_until <> ?", _DEAD)
    return int(number)


async def _give_away(transaction: Transaction, now: int) -> int:
    """What those held that are believed no more. They are forgotten once nothing is theirs."""
    await transaction.fetch("UPDATE processes SET alive_until = ? WHERE alive_until < ?", _DEAD, now)
    given = await deliveries.void_leases(transaction, now, _GIVEN_AWAY)
    if given < _GIVEN_AWAY:
        await transaction.fetch("DELETE FROM processes WHERE alive_until = ?", _DEAD)
    return given
