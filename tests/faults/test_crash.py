"""kill -9: what was acknowledged is there and delivered; a receiver that would break this is found out."""

import random
from pathlib import Path

import pytest

from tests.faults.checker import check
from tests.faults.crash import (
    IN_THE_END,
    SHORT,
    answered_before_commit,
    killed,
    leases_never_voided,
    writer_killed,
)

pytestmark = pytest.mark.timeout(180)  # a process is started several times, on a machine that may be busy


async def test_nothing_acknowledged_is_lost_by_kill_9_and_all_of_it_is_delivered(tmp_path: Path):
    history = await killed(tmp_path, SHORT, random.Random())
    assert check(history).problems == ()
    assert len(history.of_fate("acknowledged")) >= SHORT + IN_THE_END
    assert len(history.killed) > SHORT
    said = {heard.status for heard in history.heard}
    assert said == {200, 500, 429, None}  # the one that fails at times did, in each of its ways


async def test_a_receiver_whose_writer_is_killed_ends_and_loses_nothing(tmp_path: Path):
    history = await writer_killed(tmp_path, SHORT, random.Random())
    assert check(history).problems == ()
    assert len(history.killed) == SHORT


async def test_a_receiver_that_answers_before_commit_is_found_out(tmp_path: Path):
    history = await answered_before_commit(tmp_path, 1, random.Random())
    kinds = check(history).kinds
    assert "lost" in kinds
    assert kinds <= {"lost", "not finished", "undelivered"}  # it also commits what it has no time left to deliver
    assert history.stored  # some were soon enough


async def test_a_receiver_that_leaves_the_leases_of_a_dead_one_is_found_out(tmp_path: Path):
    history = await leases_never_voided(tmp_path, 1, random.Random())
    assert {"not finished", "undelivered"} <= check(history).kinds
    assert check(history).kinds.isdisjoint({"lost", "invented", "no match"})
    assert {item.state for item in history.owed} - {"queued"} == {"succeeded", "sending"}
