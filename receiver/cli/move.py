"""`receiver migrate --from sqlite:///… --to postgresql://…`: a life's data into the database that many share."""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import closing
from random import random
from typing import Any

import click

from receiver.cli.failure import Failure, told
from receiver.settings import Settings, load
from receiver.storage.migrate import migrate
from receiver.storage.move import Moved, NotMoved, Progress
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
    try:
        with told(), closing(_Bar() if sys.stderr.isatty() else _Lines()) as shown:
            moved = asyncio.run(_moved(given, wanted, shown.show))
    except NotMoved as error:
        raise Failure(str(error)) from None
    width = max(len(item.table) for item in moved)
    for item in moved:
        click.echo(f"{item.table:{width}}  {item.rows:>12}  {item.hash}")
    click.echo(f"Both have the same rows. From now on: RECEIVER_DATABASE_URL={wanted.database_name}")


async def _moved(given: Settings, wanted: Settings, progress: Progress) -> Sequence[Moved]:
    with Ownership(given.database_path, given.lock_wait):
        source = await SqliteDatabase.open(given.database_path)
        try:
            await migrate(source, unix_micros)
            target = await open_postgres(wanted.database_url, random)
            try:
                await migrate(target, unix_micros)
                return await move_rows(source, target, unix_micros(), progress)
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


class _Lines:
    """Where nobody looks at a terminal: a line for each tenth of a table, and for its end."""

    def __init__(self) -> None:
        self._said: tuple[str, int] | None = None

    def show(self, name: str, done: int, total: int) -> None:
        tenths = 10 * done // max(1, total)
        if (name, tenths) != self._said:
            self._said = name, tenths
            click.echo(f"{name}: {done} of {total}", err=True)

    def close(self) -> None:
        pass
