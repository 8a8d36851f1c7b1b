"""SIGTERM, SIGSTOP and a second process, each under load."""

import random
from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.stops import doubled, halted, terminated

pytestmark = pytest.mark.timeout(180)  # a process is started several times, on a machine that may be busy


async def test_sigterm_under_load_loses_nothing_and_sends_nothing_twice(tmp_path: Path):
    history = await terminated(tmp_path, 1, random.Random())
    verdict = check(history)
    assert verdict.problems == ()
    assert verdict.duplicated == 0
    assert history.of_fate("acknowledged")


async def test_a_halted_process_goes_on_where_it_was(tmp_path: Path):
    history = await halted(tmp_path, 1, random.Random())
    assert check(history).problems == ()
    assert len(history.of_fate("acknowledged")) >= 60


async def test_a_second_process_refuses_and_the_first_goes_on(tmp_path: Path):
    history = await doubled(tmp_path, 1, random.Random())
    assert check(history).problems == ()
    assert len(history.of_fate("acknowledged")) >= 40
