"""Without a file descriptor left, connections are closed or wait; with some again, all goes on."""

import random
from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.descriptors import starved

pytestmark = pytest.mark.timeout(180)  # a process is started several times, on a machine that may be busy


async def test_a_process_without_descriptors_loses_nothing_and_recovers(tmp_path: Path):
    history = await starved(tmp_path, 1, random.Random())
    assert check(history).problems == ()
    assert len(history.of_fate("acknowledged")) >= 60
    hungry = [item for item in history.attempted if item.status is None]
    assert len(hungry) > sum(heard.status is None for heard in history.heard)  # it did run out of them
