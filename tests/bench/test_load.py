"""How loads ask and what their times count from, and what a process has in memory."""

import asyncio
import time

from bench.pages import mixed
from bench.process import Target, python
from bench.wire import HOST, Paced

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
BIG = 64
"""MiB."""
WITH_A_CHILD = f"""
import subprocess, sys
child = [sys.executable, "-c", "held = b'x' * ({BIG} << 20); print(flush=True); input()"]
process = subprocess.Popen(child, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
process.stdout.readline()
print("ready", flush=True)
process.wait()
"""


async def test_a_request_that_had_to_wait_counts_from_when_it_was_due():
    load = Paced([b"GET / HTTP/1.1\r\n\r\n"] * 3, 1, rate=1000)
    let_go = 0.0

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal let_go
        await reader.readuntil(b"\r\n\r\n")
        while len(load.intended) < 3:  # noqa: ASYNC110 — the load has no event for it
            await asyncio.sleep(0)
        let_go = time.perf_counter()
        writer.write(OK)
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answered, HOST, 0) as server:
        await load.run(server.sockets[0].getsockname()[1])
    load.sound()
    assert len(load.latencies) == 3
    assert all(taken >= let_go - due for taken, due in zip(load.latencies, load.intended, strict=True))


def test_filters_take_turns():
    turns = mixed({"one": [b"1", b"2"], "other": [b"3", b"4"]})
    assert [next(turns) for _ in range(5)] == [b"1", b"3", b"2", b"4", b"1"]


async def test_the_memory_of_a_process_is_that_of_its_children_too():
    async with python(["-c", WITH_A_CHILD], {}) as process:
        assert process.stdout is not None
        await process.stdout.readline()
        it = Target(process)
        own, _ = it.memory()
        assert it.resident() >= own + BIG
