"""What is pinned can be installed on any later day, whatever newer versions there are by then."""

import re
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted(ROOT.glob("requirements*.lock"))
_PIN = re.compile(r"^([\w.-]+)(?:\[([\w.,-]+)\])?==\S+(?: ; .*)? \\$", re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_pin_names_the_extras_that_others_ask_for(lock: Path):
    """pip takes `name[extra]` for another thing than `name`: it looks for the newest one, which has no hash here."""
    pins = {canonicalize_name(name): set(extras.split(",")) for name, extras in _PIN.findall(lock.read_text("utf-8"))}
    assert len(pins) > 4
    missing = [
        f"{name} asks for {wanted}"
        for name in pins
        for wanted in _asked_for(name)
        if not wanted.extras <= pins.get(canonicalize_name(wanted.name), set())
    ]
    assert missing == []


def _asked_for(name: str) -> list[Requirement]:
    try:
        every = [Requirement(line) for line in requires(name) or ()]
    except PackageNotFoundError:  # of another platform
        return []
    return [item for item in every if item.marker is None or item.marker.evaluate({"extra": ""})]
