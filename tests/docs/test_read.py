"""docs/read.md against a running receiver: every call that it shows is answered as it says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS, blocks
from tests.docs.running import Served, at_hand, serving, shell

PAGE = (DOCS / "read.md").read_text("utf-8")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("read")


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Served]:
    with serving("receiver serve", place, RECEIVER_PORT="0") as it:
        yield it


def test_the_calls_of_the_page_are_answered_one_after_the_other(
    served: Served, place: Path, capsys: pytest.CaptureFixture[str]
):
    if not at_hand("curl", capsys, "docs/read.md's calls"):
        return
    answers = [shell(call.text, place, URL=served.url, KEY=served.key) for call in blocks(PAGE, "bash")]
    assert '"name":"billing"' in answers[0]
    assert '"next":null,"last":"' in answers[0]
    assert '"acknowledged_at":"2' in answers[1]
    assert (place / "messages.csv").read_text().startswith("id,type,timestamp,")
    assert (place / "campaign.csv").read_text().startswith("num,emetteur,tracker,")
    assert (place / "events.zip").read_bytes()[:2] == b"PK"
