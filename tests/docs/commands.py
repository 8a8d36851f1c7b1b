"""Command lines of receiver's on the pages: which there are, and what of them the command line does not know."""

import re
import shlex
from collections.abc import Iterator

import click

from receiver.cli import receiver
from tests.docs.markdown import blocks


def typed(page: str) -> Iterator[list[str]]:
    """Every command line of receiver's that a page shows or names, as words."""
    lines = [line for block in blocks(page, "console", "bash") for line in block.text.splitlines()]
    inline = re.findall(r"`(receiver [^`]*)`", re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE))
    for line in (*lines, *inline):
        found = re.search(r"(?:^|[\s/])receiver ((?:--)?[a-z].*)", line)
        if found and "tests" not in line:
            yield shlex.split(found[1], comments=True)


def problems(words: list[str]) -> Iterator[str]:
    """What of a command line the command line does not know."""
    command: click.Command = receiver
    for word in words:
        if word.startswith("--"):
            if word not in {option for it in command.params for option in it.opts} | {"--help", "--version"}:
                yield f"{command.name} has no {word}"
        elif isinstance(command, click.Group):
            if word not in command.commands:
                yield f"{command.name} has no {word}"
                return
            command = command.commands[word]
    if isinstance(command, click.Group) and words:
        yield f"{command.name} wants a command"
