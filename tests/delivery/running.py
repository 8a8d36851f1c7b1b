"""Runs a test's coroutine on each event loop, and fails it when the loop had anything left to complain about."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

Run = Callable[[Coroutine[Any, Any, None]], None]


def run_on(factory: Callable[[], asyncio.AbstractEventLoop], main: Coroutine[Any, Any, None]) -> None:
    complaints: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
        runner.run(main)
    assert complaints == []


def on_asyncio(main: Coroutine[Any, Any, None]) -> None:
    run_on(asyncio.new_event_loop, main)


def on_uvloop(main: Coroutine[Any, Any, None]) -> None:
    run_on(uvloop.new_event_loop, main)


on_both_loops = pytest.mark.parametrize("run", [on_asyncio, on_uvloop], ids=["asyncio", "uvloop"])
