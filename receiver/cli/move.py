"""`receiver migrate --from sqlite:///… --to postgresql://…`: a life's data into the database that many share."""

import asyncio
import sys
from collections.abc import Sequence
from random import random
from typing import Any

import click

from receiver.cli.failure import Failure, told
from receiver.settings import Settings, load
from receiver.storage.migrate import migrate
from receiver.storage.move import Moved, NotMoved
from receiver.storage.move import move as move_rows
from receiver.storage.opening import open_postgres
from receiver.storage.ownership import Ownership
from receiver.storage.sqlite import SqliteDatabase
from receiver.world import unix_micros


def move(source: str, target: str) -> None:
    """Raises Failure. What was moved when it was cut off is not moved again."""
    with told():
        given, wanted = (load(None, {"RECEIVER_DATABASE_URL": url}) for url in (source, target))
    if given.on_postgres or not wanted.on_postgres:
        raise Failure("moves from sqlite:///FILE to postgresql://…")
    if not given.database_path.exists():
        raise Failure(f"{given.database_path}: no database there")
    bar = _Bar()
    try:
        with told():
            moved = asyncio.run(_moved(given, wanted, bar))
    except NotMoved as error:
        raise Failure(str(error)) from None
    finally:
        bar.close()
    width = max(len(item.table) for item in moved)
    for item in moved:
        click.echo(f"{item.table:{width}}  {item.rows:>12}  {item.hash}")
    click.echo(f"Both have the same rows. From now on: RECEIVER_DATABASE_URL={wanted.database_name}")


async def _moved(given: Settings, wanted: Settings, bar: "_Bar") -> Sequence[Moved]:
    with Ownership(given.database_path, given.lock_wait):
        source = await SqliteDatabase.open(given.database_path)
        try:
            await migrate(source, unix_micros)
            target = await open_postgres(wanted.database_url, random)
            try:
                await migrate(target, unix_micros)
                return await move_rows(source, target, unix_micros(), bar.show)
            finally:
                await target.close()
        finally:
            await source.close()


class _Bar:
    """One for each table, on a terminal."""

    def __init__(self) -> None:
        self._name = ""
        self._bar: Any = None

    def show(self, name: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if name != self._name:
            self.close()
            self._name = name
            self._bar = click.progressbar(length=max(1, total), label=name, file=sys.stderr)
        self._bar.length = max(1, total)
        self._bar.update(done - self._bar.pos)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None
