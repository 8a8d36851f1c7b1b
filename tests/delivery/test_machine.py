"""Whatever happens in whatever order: one delivery each, in order, told as it was made, and in the end all arrive."""

import pytest

from tests.faults.machine import short, stories


@pytest.mark.timeout(240)
def test_no_story_ends_badly():
    stories(short())
