"""`receiver backup` and `receiver restore`: the database as one file, and one file as the database."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from receiver.cli.failure import Failure, told
from receiver.cli.options import as_json, configured
from receiver.cli.output import show_json
from receiver.cli.reach import settings_of
from receiver.observe import escape
from receiver.settings import Settings
from receiver.storage import backup as copying
from receiver.storage import restore as restoring
from receiver.storage.backup import CopyFailed, Progress
from receiver.world import unix_micros

SHOWN_AFTER = 2.0
"""Seconds that something may last without a sign of life."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@as_json
@configured
def backup(config: Path | None, /, file: Path, *, force: bool, as_json: bool) -> None:
    """Copy the database to FILE, while a receiver runs or not."""
    settings = _of_a_file(config)
    started = time.monotonic()
    with told(), _copying() as progress:
        made = copying.backup(settings.database_path, file, force=force, progress=progress)
    seconds = time.monotonic() - started
    if as_json:
        show_json({"file": str(file), "bytes": made.size, "events": made.events, "seconds": round(seconds, 3)})
    else:
        click.echo(f"{escape(str(file))}: {made.events} events, {made.size} bytes, {seconds:.1f} s")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Put aside the database that is there.")
@click.option("--send", is_flag=True, help="Send what was waiting; else it is held.")
@as_json
@configured
def restore(config: Path | None, /, file: Path, *, force: bool, send: bool, as_json: bool) -> None:
    """Make a copy of FILE the database; no receiver may be running."""
    settings = _of_a_file(config)
    with told(), _copying() as progress:
        done = restoring.restore(
            file,
            settings.database_path,
            unix_micros,
            force=force,
            send=send,
            wait=settings.lock_wait,
            progress=progress,
        )
    kept = None if done.kept is None else str(done.kept)
    if as_json:
        show_json({"database": str(settings.database_path), "events": done.events, "held": done.held,
                   "jobs_canceled": done.canceled, "kept": kept})  # fmt: skip
        return
    click.echo(f"{settings.database_path}: {done.events} events from {escape(str(file))}")
    if kept is not None:
        click.echo(f"The database before is {kept}")
    if done.held or done.canceled:
        click.echo(f"Held, not sent: {done.held} deliveries. Jobs canceled: {done.canceled}")


def _of_a_file(config: Path | None) -> Settings:
    settings = settings_of(config)
    if settings.on_postgres:
        raise Failure("copies a SQLite file; of a PostgreSQL database pg_dump and pg_basebackup make copies")
    return settings


@contextmanager
def _copying() -> Iterator[Progress]:
    """A bar on a terminal, once it lasts. Raises Failure for a copy that was not made."""
    started = time.monotonic()
    with ExitStack() as shown:
        bars: list[Any] = []

        def show(share: float) -> None:
            if not bars and sys.stderr.isatty() and time.monotonic() - started > SHOWN_AFTER:
                bars.append(shown.enter_context(click.progressbar(length=100, label="Copying", file=sys.stderr)))
            for bar in bars:
                bar.update(int(share * 100) - bar.pos)

        try:
            yield show
        except CopyFailed as error:
            raise Failure(str(error)) from None
