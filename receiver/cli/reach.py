"""How a command reaches a receiver: every command speaks the HTTP API, over one of three ways.

`--url` and `--key` when given; else the owner's socket beside the database when a process owns it; else the same API
in this process, which takes the lock only to change something. A database that many processes share is nobody's alone:
there it is always in this process.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from random import random
from typing import Any

import httpx2

from receiver.api.problem import MEDIA_TYPE
from receiver.app import create_app
from receiver.cli.failure import Failure, told
from receiver.cli.inside import InProcess
from receiver.settings import Settings, load
from receiver.storage import processes
from receiver.storage.database import CannotStart
from receiver.storage.opening import open_postgres
from receiver.storage.ownership import is_owned

PATIENCE_SECONDS = 330.0
"""Longer than the longest attempt, which `subscription test` waits for."""
_INSIDE = "http://receiver"

Query = Sequence[tuple[str, str]]


def settings_of(config: Path | None) -> Settings:
    """Raises Failure with every problem, exit code 3."""
    with told():
        return load(config, os.environ)


def someone_runs(settings: Settings) -> bool:
    """Whether a receiver does now what it is told to, and not only when one is started. Raises Failure."""
    if not settings.on_postgres:
        return is_owned(settings.database_path)

    async def count() -> int:
        database = await open_postgres(settings.database_url, random)
        try:
            async with database.reading() as reader:
                return await processes.among(reader)
        finally:
            await database.close()

    with told():
        return asyncio.run(count()) > 0


def listens(path: Path | None) -> bool:
    """Whether somebody answers on that socket; one left by a killed process does not."""
    if path is None:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Reach:
    """What the options of a command say about where the receiver is."""

    config: Path | None
    url: str | None = None
    key: str | None = None

    def read(self, path: str, query: Query = ()) -> Any:
        """The JSON of a GET. Raises Failure."""
        return _content(self._asked("GET", path, query=query, changes=False))

    def change(self, method: str, path: str, body: Mapping[str, Any] | None = None, query: Query = ()) -> Any:
        """The JSON of the answer, None where there is none. Raises Failure."""
        return _content(self._asked(method, path, query=query, body=body, changes=True))

    def locate(self, method: str, path: str) -> str:
        """Where the answer says that what was asked for is. Raises Failure."""
        return self._asked(method, path, changes=True).headers.get("location", "")

    def upload(self, path: str, content: bytes, kind: str, query: Query = ()) -> Any:
        """The JSON of the answer to a POST of something that is no JSON. Raises Failure."""
        return _content(self._asked("POST", path, query=query, content=content, kind=kind, changes=True))

    def change_each(
        self, method: str, path: str, bodies: Iterable[Mapping[str, Any]], done: Callable[[Any], None]
    ) -> None:  # fmt: skip
        """Many changes, one after the other over one way; `done` is told each answer's JSON. Raises Failure."""

        async def ask() -> None:
            async with self._client(changes=True) as client:
                for body in bodies:
                    done(_content(_succeeded(await client.request(method, path, json=body), path)))

        with told():
            asyncio.run(ask())

    def act(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """A POST that changes nothing in the database, so that it needs no lock. Raises Failure."""
        return _content(self._asked("POST", path, body=body, changes=False))

    @asynccontextmanager
    async def streaming(
        self, path: str, query: Query, headers: Mapping[str, str], silence: float
    ) -> AsyncIterator[httpx2.Response]:
        """A GET of a running receiver whose body comes piece by piece, with `silence` seconds between two at most.

        Raises Busy, and Failure where the answer is no success; ConnectError where no receiver runs.
        """
        async with (
            self._client(changes=False, running=True) as client,
            _opened(client, path, query, headers, silence) as answer,
        ):
            yield answer

    @asynccontextmanager
    async def download(self, path: str, query: Query) -> AsyncIterator[httpx2.Response]:
        """The same of an answer that has an end, of a receiver that runs or not."""
        async with (
            self._client(changes=False) as client,
            _opened(client, path, query, {}, PATIENCE_SECONDS) as answer,
        ):
            yield answer

    def _asked(
        self, method: str, path: str, *, query: Query = (), body: Mapping[str, Any] | None = None,
        content: bytes | None = None, kind: str | None = None, changes: bool,
    ) -> httpx2.Response:  # fmt: skip
        headers = {"content-type": kind} if kind else {}

        async def ask() -> httpx2.Response:
            async with self._client(changes=changes) as client:
                return await client.request(
                    method, path, params=list(query), json=body, content=content, headers=headers
                )

        with told():
            response = asyncio.run(ask())
        return _succeeded(response, path)

    @asynccontextmanager
    async def _client(self, *, changes: bool, running: bool = False) -> AsyncIterator[httpx2.AsyncClient]:
        if self.url is not None:
            headers = {"authorization": f"Bearer {self.key}"}
            async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=PATIENCE_SECONDS) as client:
                yield client
            return
        settings = settings_of(self.config)
        if running and settings.on_postgres:
            raise httpx2.ConnectError("name one of those that run: --url and --key")
        if running and not listens(settings.owners_socket):
            raise httpx2.ConnectError(f"none runs on {settings.database_path}; start it: receiver serve")
        async with (
            _nearest(settings, changes=changes) as transport,
            httpx2.AsyncClient(transport=transport, base_url=_INSIDE, timeout=PATIENCE_SECONDS) as client,
        ):
            yield client


@asynccontextmanager
async def _nearest(settings: Settings, *, changes: bool) -> AsyncIterator[httpx2.AsyncBaseTransport]:
    """The owner's socket, or the receiver made of these settings in this process. Raises CannotStart."""
    path = settings.owners_socket
    owned = path is not None and is_owned(settings.database_path)
    if owned and listens(path):
        yield httpx2.AsyncHTTPTransport(uds=str(path))
        return
    app = create_app(settings)
    try:
        async with app.lifespan(dispatch=False) if changes else app.reading():
            yield InProcess(app.owner)
    except CannotStart as error:
        if not owned or not changes:
            raise
        raise CannotStart(f"{error}, which has no socket at {path}; ask it with --url and --key") from None


class Busy(Failure):
    """Not now; the same may be asked for again."""


@asynccontextmanager
async def _opened(
    client: httpx2.AsyncClient, path: str, query: Query, headers: Mapping[str, str], silence: float
) -> AsyncIterator[httpx2.Response]:
    patience = httpx2.Timeout(PATIENCE_SECONDS, read=silence)
    async with client.stream("GET", path, params=list(query), headers=dict(headers), timeout=patience) as answer:
        if not answer.is_success:
            await answer.aread()
            busy = answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
            raise (Busy if busy else Failure)(*_problems(answer, path))
        yield answer


def _succeeded(response: httpx2.Response, path: str) -> httpx2.Response:
    """Raises Failure."""
    if not response.is_success:
        raise Failure(*_problems(response, path))
    return response


def _content(response: httpx2.Response) -> Any:
    if response.status_code == HTTPStatus.NO_CONTENT:
        return None
    try:
        content = response.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise Failure("the answer is not that of a receiver; is this its URL?")
    return content


def _problems(response: httpx2.Response, path: str) -> Sequence[str]:
    """What went wrong, in the API's own words."""
    if not response.headers.get("content-type", "").startswith(MEDIA_TYPE):
        return [f"answered {response.status_code} {response.reason_phrase}; is this the URL of a receiver?"]
    document = response.json()
    errors = document.get("errors") or []
    named = [f"{error['pointer'].strip('/').replace('/', '.')}: {error['detail']}".lstrip(": ") for error in errors]
    if response.status_code == HTTPStatus.NOT_FOUND:
        return [f"{path}: {document['detail']}"]
    return named or [document["detail"]]
