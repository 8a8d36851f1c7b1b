"""Three receivers, one killed every few seconds, the server crashed once: nothing is lost, invented or left behind."""

import asyncio
import random
import tempfile
from pathlib import Path

import pytest

from tests.sharing.killing import run


@pytest.mark.timeout(180)
def test_nothing_is_lost_when_processes_are_killed_and_the_server_crashes():
    with tempfile.TemporaryDirectory(prefix="rcv", dir="/tmp") as folder:  # a socket's path is short
        Path(folder).chmod(0o755)
        story = asyncio.run(run(Path(folder), kills=2, every=2.0, hurry=True, chance=random.Random(3), vendors=4))
    assert story.kills == 2
    assert story.crashes == 1
    assert len(story.acknowledged) > 20
