"""A receiver as a process that may be killed, stopped, starved and started again, on the files of one folder."""

import asyncio
import os
import re
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
KEY = "an-admin-key-of-the-settings"
PUBLIC_URL = "https://hooks.example.com"
CONCURRENCY = 16
START_SECONDS = 30.0
END_SECONDS = 27.0
"""The drain may take 25 (docs/operate.md)."""

SETTINGS = {
    "RECEIVER_DATABASE_URL": "sqlite:///receiver.db",
    "RECEIVER_HOST": "127.0.0.1",
    "RECEIVER_PORT": "0",
    "RECEIVER_API_KEY": KEY,
    "RECEIVER_PUBLIC_URL": PUBLIC_URL,
    "RECEIVER_EGRESS_ALLOW": "127.0.0.0/8",
    "RECEIVER_DELIVERY_CONCURRENCY": str(CONCURRENCY),
    "RECEIVER_LOG_FORMAT": "text",
    "RECEIVER_LOG_LEVEL": "info",
}
_LISTENS = re.compile(r"listens on (\S+)")


@dataclass
class Receiver:
    """`module` is what runs: the receiver itself, or one with a planted fault. `limits` are a shell's, to start with.

    A run begins with each start; `ended_at` holds when each of them was over (unix microseconds).
    """

    folder: Path
    module: str = "receiver"
    limits: Sequence[str] = ()
    url: str = ""
    ended_at: list[int] = field(default_factory=list)
    _child: Process | None = None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def child(self) -> Process:
        assert self._child is not None
        return self._child

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.returncode is None

    async def launch(self) -> None:
        """Starts it and does not wait for more."""
        assert not self.alive
        self._child = await spawn(self.folder, self.module, self.limits)

    async def start(self) -> None:
        await self.launch()
        assert self.child.stdout is not None
        line = await asyncio.wait_for(self.child.stdout.readline(), START_SECONDS)
        found = _LISTENS.search(line.decode())
        assert found is not None, self.log()[-2000:]
        self.url = found[1]

    def signal(self, number: int) -> None:
        self.child.send_signal(number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended(END_SECONDS)

    async def kill_writer(self) -> int:
        """The process that writes for it. What the receiver then ended with."""
        children = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children")
        (writer,) = children.read_text().split()  # noqa: ASYNC240 — of the kernel, at once
        os.kill(int(writer), signal.SIGKILL)
        return await self.ended(END_SECONDS)

    async def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return await self.ended(END_SECONDS)

    async def ended(self, seconds: float) -> int:
        code = await asyncio.wait_for(self.child.wait(), seconds)
        self.ended_at.append(time.time_ns() // 1000)
        closed(self.child)
        return code

    async def close(self) -> None:
        """Whatever happened, nothing is left running."""
        if self.alive:
            self.signal(signal.SIGCONT)
            await self.kill()

    def log(self) -> str:
        return (self.folder / "receiver.log").read_text()


async def spawn(folder: Path, module: str, limits: Sequence[str] = ()) -> Process:
    """`python -m MODULE serve` in `folder`; its log is added to the one that is there."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    command = [sys.executable, "-m", module, "serve"]
    if limits:
        command = ["/bin/sh", "-c", f'ulimit {" ".join(limits)} && exec "$@"', "sh", *command]
    with (folder / "receiver.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdout=PIPE, stderr=log, stdin=asyncio.subprocess.DEVNULL,
            env={**others, "PYTHONPATH": str(ROOT), **SETTINGS},
        )  # fmt: skip


def closed(child: Process) -> None:
    """Its pipes, before the loop ends."""
    child._transport.close()  # type: ignore[attr-defined]  # asyncio has no public way to it
