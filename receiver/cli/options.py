"""Options that many commands share, and how `name=value` is read."""

import functools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec
from urllib.parse import quote, urlsplit

import click

from receiver.cli.reach import Query, Reach

P = ParamSpec("P")

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _quoted(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    return quote(value, safe="")


identified = click.argument("identifier", metavar="ID", callback=_quoted)
"""One id, fit for a path."""

_config = click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="A TOML file with settings.", show_default=False
)
_url = click.option("--url", envvar="RECEIVER_URL", help="A receiver elsewhere.  [env: RECEIVER_URL]")
_key = click.option("--key", envvar="RECEIVER_KEY", help="Its API key.  [env: RECEIVER_KEY]")
_limit = click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True, help="At most so many.")
_after = click.option("--after", metavar="CURSOR", help="What follows a cursor or an id.")


_filters = (
    click.option("--type", multiple=True, metavar="TYPE", help="A type, or a prefix with *; several: any of them."),
    click.option("--vendor"),
    click.option("--source", metavar="ID"),
    click.option("--from", metavar="ADDRESS", help="Exact, or a prefix with *."),
    click.option("--to", metavar="ADDRESS", help="Exact, or a prefix with *."),
    click.option("--message-id", metavar="ID"),
    click.option("--vendor-message-id", metavar="ID"),
    click.option("--client-reference", metavar="TEXT"),
    click.option("--status"),
    click.option("--since", metavar="TIME", help="Accepted then or later, such as 2026-11-20T14:47:03Z."),
    click.option("--until", metavar="TIME", help="Accepted before then."),
    click.option("-q", "q", metavar="WORDS", help="Words of a text, all of them; * behind one: its beginning."),
)


def filtered(command: Callable[P, None]) -> Callable[P, None]:
    """Which events: the filters of `/v1/events`."""
    for option in reversed(_filters):
        command = option(command)
    return command


def configured(command: Callable[Concatenate[Path | None, P], None]) -> Callable[..., None]:
    """`--config`, here or before the command, as the first argument."""

    @_config
    @functools.wraps(command)
    def wrapped(config: Path | None, *args: P.args, **given: P.kwargs) -> None:
        command(config or click.get_current_context().find_root().params.get("config"), *args, **given)

    return wrapped


def reaching(command: Callable[Concatenate[Reach, P], None]) -> Callable[..., None]:
    """`--config`, `--url` and `--key` as a Reach, the first argument."""

    @_url
    @_key
    @configured
    @functools.wraps(command)
    def wrapped(config: Path | None, /, url: str | None, key: str | None, *args: P.args, **given: P.kwargs) -> None:
        if (url is None) != (key is None):
            raise click.UsageError("--url and --key (RECEIVER_URL and RECEIVER_KEY) go together")
        if url is not None:
            checked_url(url, "--url")
        command(Reach(config, url, key), *args, **given)

    return wrapped


def paged(command: Callable[P, None]) -> Callable[P, None]:
    """`--limit` and `--after`."""
    return _limit(_after(command))


def checked_url(url: str, option: str) -> str:
    """Raises click.BadParameter unless it is http or https with a host."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname is not None and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise click.BadParameter("must be a URL that starts with http:// or https://", param_hint=option)
    return url


def query_of(given: Mapping[str, object]) -> Query:
    """Parameters of a query string; what was not given is left out, a list is given several times."""
    several = [(name, value if isinstance(value, tuple) else (value,)) for name, value in given.items()]
    return [(name, str(item)) for name, values in several for item in values if item is not None]


def pairs(items: Iterable[str], option: str) -> Sequence[tuple[str, str]]:
    """`name=value` each; the value of a name alone is asked for, so that it need not stand in the shell's history."""
    found: list[tuple[str, str]] = []
    for item in items:
        name, separator, value = item.partition("=")
        if not name:
            raise click.BadParameter("must be name=value", param_hint=option)
        found.append((name, value if separator else click.prompt(name, hide_input=True, err=True)))
    return found


def credentials_of(items: Iterable[str]) -> dict[str, list[str]]:
    """`name=value`; a name given several times has several values, which are all tried."""
    found: dict[str, list[str]] = {}
    for name, value in pairs(items, "--credential"):
        found.setdefault(name, []).append(value)
    return found


def options_of(items: Iterable[str]) -> dict[str, Any]:
    """`basic.username=acme`, `allow=["10.0.0.0/8"]`: a dot goes one level down, a value may be JSON that says so."""
    document: dict[str, Any] = {}
    for name, value in pairs(items, "--option"):
        *steps, last = name.split(".", 1) if name.startswith(_MAPS) else name.split(".")
        here = document
        for step in steps:
            here = here.setdefault(step, {})
            if not isinstance(here, dict):
                raise click.BadParameter(f"{name}: {step} has a value already", param_hint="--option")
        here[last] = _value(value)
    return document


_MAPS = ("fields.", "statuses.")
"""Options whose keys are the vendor's own words, dots and all."""


def _value(text: str) -> Any:
    """Lists, objects, quoted texts and null are JSON; numbers and words stay text, which the API reads as it should."""
    if text == "null" or text[:1] in ("[", "{", '"'):
        try:
            return json.loads(text)
        except ValueError:
            raise click.BadParameter("begins like JSON, but is not", param_hint="--option") from None
    return text
