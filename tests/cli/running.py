"""A real `receiver serve` in a process of its own, and the command line as one calls it."""

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
from click.testing import CliRunner, Result

from receiver.app import create_app
from receiver.cli import receiver
from receiver.settings import load

PROGRAM = (sys.executable, "-m", "receiver")
ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 20.0


def call(*arguments: str, **given: Any) -> Result:
    """One command in this process, in the working directory's database."""
    return CliRunner().invoke(receiver, arguments, prog_name="receiver", **given)


def done(*arguments: str) -> str:
    """What a command printed; it must have succeeded."""
    result = call(*arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    return result.stdout


def answered(*arguments: str) -> Any:
    """The JSON of a command."""
    return json.loads(done(*arguments, "--json"))


def refused(*arguments: str, code: int = 1) -> str:
    """The one thing that a failing command said."""
    result = call(*arguments)
    assert result.exit_code == code, (arguments, result.output, result.exception)
    assert isinstance(result.exception, SystemExit)
    return result.stderr


def environment(**settings: str) -> dict[str, str]:
    ambient = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    return {**ambient, "PYTHONPATH": str(ROOT), **settings}


def program(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """One command in a process of its own."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        check=False,
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=40,
    )


def inside(url: str) -> None:
    """A GET of a vendor's to the working directory's database; no server runs, and nothing is sent on."""

    async def deliver() -> int:
        app = create_app(load(None, {}))
        async with app.lifespan(dispatch=False), httpx2.AsyncClient(transport=httpx2.ASGITransport(app)) as client:
            return (await client.get(url)).status_code

    assert asyncio.run(deliver()) == 200


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Serving:
    """`greeting` is what it printed until it was ready, `key` the one that it made, if it did."""

    process: "subprocess.Popen[str]"
    folder: Path
    url: str
    greeting: str

    @property
    def key(self) -> str | None:
        lines = [line.split() for line in self.greeting.splitlines() if "API key" in line]
        return lines[0][2] if lines else None

    def ask(self, method: str, path: str, **given: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx2.request(method, f"{self.url}{path}", headers=headers, trust_env=False, **given)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and what stood on stderr."""
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@contextmanager
def serving(folder: Path, *arguments: str, **settings: str) -> Iterator[Serving]:
    """A receiver that is ready for calls."""
    given = {"RECEIVER_PORT": str(free_port()), **settings}
    process = subprocess.Popen(
        [*PROGRAM, "serve", *arguments],
        cwd=folder,
        env=environment(**given),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        greeting = _greeting(process)
        yield Serving(process, folder, greeting.split()[4], greeting)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _greeting(process: "subprocess.Popen[str]") -> str:
    """All that is printed at the start; it is written at once, and nothing follows it."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    assert ready, "it did not start"
    text = os.read(process.stdout.fileno(), 65536).decode()
    assert text, process.communicate()[1]
    deadline = time.monotonic() + START_SECONDS
    while not _is_whole(text) and time.monotonic() < deadline:
        text += os.read(process.stdout.fileno(), 65536).decode()
    return text


def _is_whole(text: str) -> bool:
    return text.endswith("\n") and "owner's socket" in text and ("API key" not in text or "Try:" in text)


@dataclass
class Hook:
    """A subscriber, or whatever else is called: keeps what came, answers `status` and `body`."""

    url: str = ""
    status: int = 200
    body: bytes = b""
    seen: list[tuple[str, str, Mapping[str, str], bytes]] = field(default_factory=list)
    hold: threading.Event | None = None
    """While it is not set, nobody gets an answer."""


@contextmanager
def hook(*, held: bool = False) -> Iterator[Hook]:
    it = Hook(hold=threading.Event() if held else None)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            it.seen.append((self.command, self.path, headers, body))
            if it.hold is not None:
                it.hold.wait(30)
            self.send_response(it.status)
            self.send_header("content-length", str(len(it.body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(it.body)
            self.close_connection = True

        do_GET = do_POST  # noqa: N815 — the base class's word

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.block_on_close = False
    it.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield it
    finally:
        if it.hold is not None:
            it.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


def soon(what: Any, patience: float = 30.0) -> Any:
    """The first true value that `what` gives."""
    deadline = time.monotonic() + patience
    while not (value := what()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
    return value


def lines_of(text: str) -> Sequence[Sequence[str]]:
    """A table without its headings, each row cut at the gaps between columns."""
    return [[part.strip() for part in line.split("  ") if part.strip()] for line in text.splitlines()[1:] if line]
