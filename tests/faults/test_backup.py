"""A backup of a receiver under load, restored in other folders."""

import random
from pathlib import Path

import pytest

from tests.faults.backup import restored_elsewhere
from tests.faults.checker import check


@pytest.mark.timeout(180)  # a process is started several times, on a machine that may be busy
async def test_a_backup_under_load_holds_what_was_acknowledged_and_sends_only_when_asked(tmp_path: Path):
    history, unasked = await restored_elsewhere(tmp_path, random.Random())
    assert check(history).problems == ()
    assert unasked == []
    assert len(history.of_fate("acknowledged")) >= 100
