"""Commands of this machine's own receiver: run it, show it off, bring its database up to date, show its settings."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from random import random

import click
import uvloop

from receiver import __version__
from receiver.app import App, create_app
from receiver.cli.failure import Failure, cannot_start, told
from receiver.cli.move import move
from receiver.cli.options import as_json, configured
from receiver.cli.output import indented, record, show_json
from receiver.cli.reach import settings_of
from receiver.observe import start_logging
from receiver.server import run
from receiver.settings import Settings, masked
from receiver.storage.database import CannotStart
from receiver.storage.migrate import Migration
from receiver.storage.migrate import migrate as apply
from receiver.storage.opening import open_postgres
from receiver.storage.ownership import Ownership
from receiver.storage.sqlite import SqliteDatabase
from receiver.world import unix_micros


@click.command()
@configured
def serve(config: Path | None) -> None:
    """Run the receiver until SIGTERM or Ctrl-C."""
    settings = settings_of(config)
    lines = start_logging(settings.log_level, settings.log_format)
    apps: list[App] = []

    def build() -> App:
        apps.append(create_app(settings))
        return apps[0]

    try:
        code = run(build, lambda url, socket: _greet(apps[0], url, socket))
    except CannotStart as error:
        if apps[0].first_key is not None:  # made, but the port is taken: it is not shown again
            click.echo(record({"API key": apps[0].first_key}))
        raise cannot_start([str(error)]) from None
    finally:
        lines.close()
    if code:
        raise Failure("stopped: the database can no longer be trusted, see the log; the next start recovers it")


def _greet(app: App, url: str, socket: Path | None) -> None:
    settings = app.settings
    default = (
        " (the default; set RECEIVER_PUBLIC_URL to how vendors reach it)" if settings.public_url_is_default else ""
    )
    facts: dict[str, object] = {"public URL": settings.public_url + default}
    if socket is None:
        facts["database"] = settings.database_name
    else:
        facts["owner's socket"] = socket if socket.exists() else "none: its path would be too long"
    if app.first_key is not None:
        facts["API key"] = f"{app.first_key} (made at this first start, shown only now)"
    click.echo(f"receiver {__version__} listens on {url}")
    click.echo(indented(record(facts)))
    if app.first_key is not None:
        click.echo(f'Try: curl -H "Authorization: Bearer {app.first_key}" {url}/v1/sources')


@click.command()
@click.option("--once", is_flag=True, help="End when every event arrived; exit 1 when one did not.")
def demo(*, once: bool) -> None:
    """See it work: every vendor once, on a throw-away database, with a subscriber that checks signatures."""
    from receiver.demo import demonstrate  # noqa: PLC0415 — it uses parts of this package

    with told():
        raise click.exceptions.Exit(uvloop.run(demonstrate(click.echo, once=once)))


@click.command()
@click.option("--from", "source", metavar="URL", help="Move everything from this SQLite database …")
@click.option("--to", "target", metavar="URL", help="… to this PostgreSQL, and compare both.")
@configured
def migrate(config: Path | None, /, source: str | None, target: str | None) -> None:
    """Bring the database's schema up to date; no receiver may have it as its own."""
    if (source is None) != (target is None):
        raise click.UsageError("--from and --to go together")
    if source is not None and target is not None:
        move(source, target)
        return
    settings = settings_of(config)
    with told():
        applied = asyncio.run(_migrated(settings))
    for migration in applied:
        click.echo(f"{settings.database_name}: applied {migration.number:04d} {migration.name}")
    if not applied:
        click.echo(f"{settings.database_name}: is up to date")


async def _migrated(settings: Settings) -> Sequence[Migration]:
    if settings.on_postgres:
        shared = await open_postgres(settings.database_url, random)
        try:
            return await apply(shared, unix_micros)
        finally:
            await shared.close()
    with Ownership(settings.database_path, settings.lock_wait):
        database = await SqliteDatabase.open(settings.database_path)
        try:
            return await apply(database, unix_micros)
        finally:
            await database.close()


@click.command()
@as_json
@configured
def settings(config: Path | None, *, as_json: bool) -> None:
    """Show the effective settings, secrets masked."""
    values = masked(settings_of(config))
    if as_json:
        show_json(values)
        return
    click.echo(record(values))
