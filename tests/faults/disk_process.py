"""`receiver serve` in a process of its own, below strace or in a small file system where a fault needs that."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx2

ROOT = Path(__file__).parent.parent.parent
KEY = "an-admin-key-of-the-settings"
FIELDS = {"vendor_message_id": "vendor_message_id", "text": "text"}


Answers = dict[int, list[tuple[bytes, int]]]
"""Local port of a vendor → what it sent, and the status of each answer, 0 for none."""


@cache
def can(*command: str) -> bool:
    """Whether this machine has that program and lets us use it."""
    return (
        shutil.which(command[0]) is not None
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


def tracing(*options: str) -> Sequence[str]:
    """Words to put before a command; the command stays our own child."""
    return ("strace", "-D", "-f", "-qq", *options)


@dataclass
class Process:
    child: "subprocess.Popen[bytes]"
    url: str
    path: str = ""
    """Where the source takes JSON."""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def api(self, method: str, path: str, **given: Any) -> httpx2.Response:
        headers = {"authorization": f"Bearer {KEY}"}
        return httpx2.request(method, self.url + path, headers=headers, trust_env=False, timeout=30, **given)

    def post(self, body: bytes) -> int:
        """The status that a vendor gets; 0 for none."""
        try:
            return self.api("POST", self.path, content=body).status_code
        except httpx2.TransportError:
            return 0

    def end(self, number: int | None = None, seconds: float = 40.0) -> tuple[int, str]:
        """Exit code and standard error, once it has ended, by that signal or by itself."""
        if number is not None:
            self.child.send_signal(number)
        _, errors = self.child.communicate(timeout=seconds)
        return self.child.returncode, (errors or b"").decode()


def environment(folder: Path, **settings: str) -> dict[str, str]:
    ambient = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    given = {
        "PYTHONPATH": str(ROOT), "RECEIVER_PORT": "0", "RECEIVER_API_KEY": KEY,
        "RECEIVER_DATABASE_URL": f"sqlite:///{folder}/receiver.db", "RECEIVER_EGRESS_ALLOW": "127.0.0.0/8",
        "RECEIVER_LOCK_WAIT": "10",
    }  # fmt: skip
    return ambient | given | settings


def started(folder: Path, *before: str, stderr: int = subprocess.PIPE, **settings: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*before, sys.executable, "-m", "receiver", "serve"], cwd=ROOT, env=environment(folder, **settings),
        stdout=subprocess.PIPE, stderr=stderr,
    )  # fmt: skip


@contextmanager
def process(folder: Path, *before: str, stderr: int = subprocess.PIPE, **settings: str) -> Iterator[Process]:
    """One that serves, without a source yet; or one without a URL, that said instead why it does not."""
    child = started(folder, *before, stderr=stderr, **settings)
    try:
        assert child.stdout is not None
        words = child.stdout.readline().decode().split()
        yield Process(child, words[-1] if words else "")
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def furnish(it: Process) -> int:
    """A source, and a subscriber that is never there; the first status that is not 201, or 201."""
    body = {"vendor": "generic", "options": {"fields": FIELDS}}
    answer = it.api("POST", "/v1/sources", json=body)
    if answer.status_code == 201:
        it.path = "/in/" + answer.json()["url"].partition("/in/")[2]
        answer = it.api("POST", "/v1/subscriptions", json={"url": "http://127.0.0.1:1/"})
    return answer.status_code


async def load(it: Process, bodies: Sequence[bytes], callers: int = 8) -> Answers:
    """So many vendors at once, each on a connection of its own, until all is sent or the connection is lost."""
    found: Answers = {}
    left = list(reversed(bodies))

    async def caller() -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
        except OSError:
            return
        told = found.setdefault(writer.get_extra_info("sockname")[1], [])
        while left:
            body = left.pop()
            told.append((body, await _exchange(it.path, reader, writer, body)))
            if not told[-1][1]:
                break
        writer.close()

    await asyncio.gather(*(caller() for _ in range(callers)))
    return found


async def _exchange(path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> int:
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    try:
        async with asyncio.timeout(60):
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = answer.partition("content-length: ")[2].split("\r\n", 1)[0]
            await reader.readexactly(int(length or 0))
    except (OSError, asyncio.IncompleteReadError):
        return 0
    return int(answer.split()[1])


def statuses(found: Answers) -> list[int]:
    return [status for told in found.values() for _, status in told]


def answered(found: Answers) -> list[bytes]:
    """What was acknowledged."""
    return [body for told in found.values() for body, status in told if status == 200]
