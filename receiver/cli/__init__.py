"""The command line: `receiver …`. Thin: it parses, calls the HTTP API or the composition root, and prints.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 cannot start.
"""

import sys
import traceback
from pathlib import Path

import click

from receiver import __version__
from receiver.cli.backup import backup, restore
from receiver.cli.batches import batches
from receiver.cli.bring_in import bring_in
from receiver.cli.check import check
from receiver.cli.consumers import consumer
from receiver.cli.deliveries import deliveries
from receiver.cli.erase import erase
from receiver.cli.events import events
from receiver.cli.export import campaign
from receiver.cli.jobs import jobs, replay
from receiver.cli.keys import keys
from receiver.cli.local import demo, migrate, serve, settings
from receiver.cli.messages import messages
from receiver.cli.optouts import optouts
from receiver.cli.reparse import reparse
from receiver.cli.sources import source
from receiver.cli.subscriptions import subscription
from receiver.cli.tail import listen
from receiver.cli.trigger import trigger
from receiver.observe import redact_last_resort

COMMANDS = (
    serve,
    demo,
    migrate,
    check,
    settings,
    source,
    subscription,
    events,
    listen,
    consumer,
    campaign,
    messages,
    batches,
    deliveries,
    optouts,
    replay,
    reparse,
    bring_in,
    jobs,
    trigger,
    keys,
    erase,
    backup,
    restore,
)


class _InOrder(click.Group):
    """Lists its commands in the order in which one meets them, not by alphabet."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 — click's signature
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="receiver", message="%(prog)s %(version)s")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="A TOML file with settings.")
def receiver(config: Path | None) -> None:
    """Where SMS vendors call back: verify, normalise, keep and fan out what they send.

    Commands ask the receiver that owns the database, over its socket, or the one of --url; when none runs, they do the
    same work on the database themselves.
    """


for command in COMMANDS:
    receiver.add_command(command)


def main() -> None:
    """Runs the command of the process's arguments and exits; whatever breaks is one line, never a traceback."""
    redact_last_resort()
    try:
        receiver(prog_name="receiver")
    except Exception as bug:  # noqa: BLE001 — the edge of the program
        place = traceback.extract_tb(bug.__traceback__)[-1]
        click.echo(f"Error: {type(bug).__name__} at {Path(place.filename).name}:{place.lineno}; a bug", err=True)
        sys.exit(1)
