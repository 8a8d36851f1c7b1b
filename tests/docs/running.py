"""A `receiver serve` as the docs start it: a shell, a folder of its own, and `receiver` on the PATH."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT

SECONDS = 40
SHELL = shutil.which("bash") or "sh"


@dataclass(slots=True)
class Served:
    """What the receiver printed, whole once it ended, its address, and the API key if it showed one."""

    output: str
    url: str
    key: str


def at_hand(program: str, capsys: pytest.CaptureFixture[str], what: str) -> bool:
    """Whether a program that this project does not need is here; says aloud what is not run without it."""
    if shutil.which(program):
        return True
    with capsys.disabled():
        sys.stdout.write(f"\n{what} not run: {program} is absent\n")
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(folder: Path) -> Mapping[str, str]:
    """A shell that finds this checkout's `receiver` and this Python as `python3`, and no settings of the machine."""
    programs = folder / "bin"
    if not programs.exists():
        programs.mkdir()
        for name, module in (("receiver", " -m receiver"), ("python3", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n', "utf-8")
            (programs / name).chmod(0o700)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")}
    return {**plain, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def shell(script: str, folder: Path, given: str = "", **values: str) -> str:
    """What a script prints. It fails the test with its output when one command fails, and leaves nothing running."""
    process = subprocess.Popen(
        [SHELL, "-ec", script],
        cwd=folder,
        env={**environment(folder), **values},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, complaints = process.communicate(given, timeout=SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, f"{said}\n{complaints}"
    return said


@contextmanager
def serving(command: str, folder: Path, *, first: bool = True, **values: str) -> Iterator[Served]:
    """The command of a page, from when it listens until SIGTERM, after which it must have drained and ended well.

    The `first` start on a database shows a key.
    """
    process = subprocess.Popen(
        [SHELL, "-c", f"{command.rstrip()}; exit $?"],
        cwd=folder,
        env={**environment(folder), **values},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    served = Served(output="", url="", key="")
    try:
        while ("API key" if first else "owner's socket") not in served.output:
            line = process.stdout.readline()
            assert line, f"ended after: {served.output}"
            served.output += line
        served.url = re.findall(r"listens on (\S+)", served.output)[0]
        served.key = re.findall(r"key_[\w-]{20,}", served.output)[0] if first else ""
        yield served
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        served.output += process.stdout.read()
        process.stdout.close()
        code = process.wait(SECONDS)
    assert code in (0, -signal.SIGTERM)  # the second where the shell did not wait for its own end
