"""`receiver erase`: a person's data is erased by a durable job of the receiver."""

import sys
from urllib.parse import quote

import click

from receiver.cli.jobs import follow, waiting
from receiver.cli.options import as_json, reaching
from receiver.cli.reach import Reach


@click.command()
@click.argument("number")
@click.option("--yes", is_flag=True, help="Do not ask.")
@waiting
@as_json
@reaching
def erase(reach: Reach, number: str, *, yes: bool, wait: bool, as_json: bool) -> None:
    """Erase what is kept of the person with NUMBER, for good; - reads it from standard input.

    Events, messages, requests and answers lose who it was and what was said; ids, types, statuses and times stay.
    """
    from_input = number == "-"
    if from_input:
        number = sys.stdin.readline().rstrip("\r\n")
    if not number.strip():
        raise click.UsageError("no number was given")
    if not yes and not from_input:
        click.confirm("This cannot be undone. Erase it?", abort=True, err=True)
    location = reach.locate("DELETE", f"/v1/subjects/{quote(number, safe='')}")
    follow(reach, location.rpartition("/")[2], wait=wait, as_json=as_json)
