"""A receiver that is cut off from the database says 503, others go on, and it recovers; so do all after a failover."""

import asyncio
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sharing import cutting, promoting


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name, as a socket's must be."""
    with tempfile.TemporaryDirectory(prefix="rcv", dir="/tmp") as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.mark.timeout(180)
def test_who_is_cut_off_refuses_and_takes_again_when_it_is_mended(folder: Path):
    story = asyncio.run(cutting.run(folder, ["broken"], random.Random(3), vendors=4))
    assert story.cuts == 1
    assert story.away > 0
    assert "amid-0" in story.acknowledged


@pytest.mark.timeout(180)
def test_when_the_primary_is_gone_without_a_word_its_standby_has_all_that_was_acknowledged(folder: Path):
    """That each of them is an event, and was delivered, is looked at there."""
    story = asyncio.run(promoting.run(folder, "silent", vendors=4))
    assert story.crashes == 1
    assert len(story.acknowledged) > 20
