"""One connection to PostgreSQL: which server it goes to, when it is tried again, and that none is left behind."""

import asyncio
import gc
from pathlib import Path

import pytest

from receiver.storage.link import Link, servers
from tests import engines

pytestmark = [
    pytest.mark.usefixtures("engine"),
    pytest.mark.parametrize("engine", ["postgres"], indirect=True),
]


def test_of_several_servers_each_has_its_url():
    assert servers("postgresql://u:p,q@h:1,[::1]:2,i/d?a=b,c") == [
        "postgresql://u:p,q@h:1/d?a=b,c", "postgresql://u:p,q@[::1]:2/d?a=b,c", "postgresql://u:p,q@i/d?a=b,c",
    ]  # fmt: skip
    assert servers("postgresql://u@/d?host=/run/postgresql") == ["postgresql://u@/d?host=/run/postgresql"]


async def test_the_server_that_answered_last_is_asked_first(tmp_path: Path):
    gone, there = "postgresql://nobody@127.0.0.1:1/nothing", await engines.database_url(tmp_path)
    link = Link(there, {}, lambda: 0.5)
    link._urls = [gone, there]
    await link.ready()
    assert link._urls == [there, gone]
    await link.close()
    await link.ready()
    assert link._urls == [there, gone]
    await link.close()


async def test_whoever_gives_up_while_a_connection_is_made_leaves_none(tmp_path: Path):
    url = await engines.database_url(tmp_path)
    for milliseconds in range(40):
        link = Link(url, {}, lambda: 0.5)
        making = asyncio.create_task(link.ready())
        await asyncio.sleep(milliseconds / 1000)
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)
        await link.close()
    gc.collect()  # one that is left says so at its end, and a warning is a failure
