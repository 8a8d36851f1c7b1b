"""`receiver check`: settings, database, public URL, sources and subscriptions, every problem at once.

Only looks: it reads beside a running owner, and never takes the lock.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import click
import httpx2
from pydantic import ValidationError

from receiver.cli.failure import FAILED
from receiver.cli.options import as_json, configured
from receiver.cli.output import show_json
from receiver.cli.reach import listens, owners_socket
from receiver.egress import BadDestination, Guard, check_url
from receiver.observe import escape
from receiver.settings import BadSettings, Settings, load
from receiver.sms.timestamps import to_text
from receiver.storage import polls, sources, subscriptions
from receiver.storage.database import CannotStart, Reader, StorageError
from receiver.storage.migrate import pending, published
from receiver.storage.ownership import is_owned
from receiver.storage.polls import PollRow
from receiver.storage.sources import SourceRow
from receiver.storage.sqlite import SqliteDatabase
from receiver.storage.subscriptions import Subscription
from receiver.vendors import VENDORS
from receiver.vendors.polling import LOOKUP, poll_options, problems

Level = Literal["ok", "warning", "error"]

MOST_BYTES_READ = 1 << 30
"""A larger database is not read through: that takes minutes, and holds up its checkpoints."""


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    about: str
    text: str


@click.command()
@as_json
@configured
def check(config: Path | None, *, as_json: bool) -> None:
    """Look for everything that is wrong; exit 1 when something is."""
    findings = asyncio.run(_all(config))
    if as_json:
        show_json({"data": [asdict(finding) for finding in findings]})
    else:
        width = max(len(finding.about) for finding in findings)
        for finding in findings:
            click.echo(f"{finding.level:7}  {finding.about:{width}}  {escape(finding.text)}")
    if any(finding.level == "error" for finding in findings):
        raise click.exceptions.Exit(FAILED)


async def _all(config: Path | None) -> list[Finding]:
    try:
        settings = load(config, os.environ)
    except BadSettings as error:
        return [Finding("error", "settings", problem) for problem in error.problems]
    found = [Finding("ok", "settings", "understood"), *public_url_findings(settings)]
    return found + [finding async for finding in _database(settings)]


def public_url_findings(settings: Settings) -> Iterator[Finding]:
    url = settings.public_url
    before = len(urlsplit(url).path)
    if settings.public_url_is_default:
        yield Finding("warning", "public URL", f"{url} is the default; set RECEIVER_PUBLIC_URL to how vendors reach it")
    elif url.startswith("http:"):
        yield Finding("warning", "public URL", f"{url} is not https: whoever is on the way can read the messages")
    else:
        yield Finding("ok", "public URL", url)
    if before:
        yield Finding("ok", "public URL", "has a path; the proxy in front may keep it or cut it off")


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    path = settings.database_path
    owned = is_owned(path)
    if owned:
        yield await _owner(settings)
    if not path.exists() and path.parent.is_dir():
        yield Finding("ok", "database", f"{path}: none yet; the first start makes it")
        return
    try:
        database = await SqliteDatabase.open_reader(path)
    except CannotStart as error:
        yield Finding("error", "database", str(error))
        return
    try:
        async with database.reading() as reader:
            async for finding in _contents(reader, settings):
                yield finding
    except StorageError as error:
        yield Finding("error", "database", f"{path}: cannot be read ({error})")
    finally:
        await database.close()


async def _owner(settings: Settings) -> Finding:
    """How the process that owns the database is, over its socket."""
    holder = settings.database_path.with_name(settings.database_path.name + ".lock").read_text("ascii", "replace")
    about, path = f"process {holder or 'unknown'}", owners_socket(settings)
    if not listens(path):
        return Finding("warning", "owner", f"{about} owns the database, but does not listen on {path}")
    try:
        transport = httpx2.AsyncHTTPTransport(uds=str(path))
        async with httpx2.AsyncClient(transport=transport, base_url="http://receiver", timeout=5.0) as client:
            answer = await client.get("/readyz")
    except httpx2.TransportError as error:
        return Finding("error", "owner", f"{about} does not answer ({type(error).__name__})")
    if answer.is_success:
        return Finding("ok", "owner", f"{about} runs and is ready")
    causes = answer.json()["causes"] if answer.status_code == 503 else [f"answered {answer.status_code}"]
    return Finding("error", "owner", f"{about} is not ready: {', '.join(causes)}")


async def _contents(reader: Reader, settings: Settings) -> AsyncIterator[Finding]:
    path = settings.database_path
    behind = await pending(reader)
    if behind:
        yield Finding("error", "database", f"{path}: the schema is behind by {len(behind)}: receiver migrate")
        return
    ((newest,),) = await reader.fetch("SELECT max(number) FROM migrations")
    if newest > published()[-1].number:
        yield Finding("error", "database", f"{path}: has migration {newest:04d} of a newer version; upgrade")
        return
    yield await _integrity(reader, path)
    rows = await sources.active(reader)
    asked = await polls.of_sources(reader, [row.id for row in rows])
    for finding in (
        *(finding for row in rows for finding in source_findings(row, settings, asked.get(row.id, ()))),
        *subscription_findings(await subscriptions.active(reader), Guard(settings.egress_allow)),
    ):
        yield finding


def _is_large(path: Path) -> bool:
    return path.stat().st_size > MOST_BYTES_READ


async def _integrity(reader: Reader, path: Path) -> Finding:
    if _is_large(path):
        return Finding("ok", "database", f"{path}: the schema is up to date; too large for a quick look inside")
    ((verdict,), *_) = await reader.fetch("PRAGMA quick_check(1)")
    if verdict != "ok":
        return Finding("error", "database", f"{path}: is damaged: {verdict}")
    return Finding("ok", "database", f"{path}: the schema is up to date, the file is sound")


def source_findings(row: SourceRow, settings: Settings, feeds: Sequence[PollRow] = ()) -> Iterator[Finding]:
    """What is wrong with one source, or that nothing is."""
    about = f"source {row.id}"
    found = list(_source_problems(row, settings, feeds))
    for level, text in found:
        yield Finding(level, about, f"{row.name}: {text}")
    if not found:
        yield Finding("ok", about, f"{row.name} ({row.vendor})")


def _source_problems(row: SourceRow, settings: Settings, feeds: Sequence[PollRow]) -> Iterator[tuple[Level, str]]:
    vendor = VENDORS.get(row.vendor)
    if vendor is None:
        yield "error", f"this version does not know the vendor {row.vendor}; its requests are answered 503"
        return
    for name, credential in vendor.credentials.items():
        if credential.required and not row.credentials.get(name):
            yield "error", f"the credential {name} is missing: {credential.help}"
    try:
        source = row.source(vendor)
    except ValidationError as error:
        named = sorted({".".join(map(str, item["loc"])) for item in error.errors(include_input=False)})
        yield "error", f"options that this version does not take, so that requests are answered 503: {', '.join(named)}"
        return
    for pointer, reason in problems(vendor, source):
        yield "error", f"{pointer.strip('/').replace('/', '.')} {reason}"
    options = poll_options(source)
    for feed in feeds:
        if feed.error is not None and options is not None and feed.feed in (*options.names, LOOKUP):
            since = "" if feed.answered_at is None else f", for the last time answered {to_text(feed.answered_at)}"
            yield "error", f"asking for {feed.feed} failed {feed.failures} times{since}: {feed.error}"
    if not vendor.proves(source):
        yield "warning", "only the secret in its URL proves a request; set credentials, options.basic or options.allow"
    if vendor.signs_url and settings.public_url_is_default:
        yield "warning", f"{vendor.title} signs the URL that it calls: set RECEIVER_PUBLIC_URL"


def subscription_findings(rows: Iterable[Subscription], guard: Guard) -> Iterator[Finding]:
    for row in rows:
        about = f"subscription {row.id}"
        problems = list(_subscription_problems(row, guard))
        for level, text in problems:
            yield Finding(level, about, text)
        if not problems:
            yield Finding("ok", about, row.state)


def _subscription_problems(row: Subscription, guard: Guard) -> Iterator[tuple[Level, str]]:
    try:
        check_url(row.url, guard)
    except BadDestination as error:
        yield "error", f"nothing can be delivered with these settings: {error}"
    if row.url[:5].lower() == "http:":
        yield "warning", "its URL is http: whoever is on the way can read the messages"
    if row.state == "disabled":
        command = "receiver subscription"
        yield "warning", f"is disabled: {command} resume {row.id}; what is held: {command} recover {row.id}"
