"""A zip that is made as its content comes is a zip."""

import io
import random
import zipfile

from receiver.formats.zipped import Zip

NOW = 1_795_000_000_000_000


def test_it_holds_the_one_file_whole():
    chance = random.Random(1)
    content = [chance.randbytes(chance.randrange(70_000)) for _ in range(40)]
    file = Zip("events.csv", NOW)
    made = b"".join([*map(file.write, content), file.end()])
    with zipfile.ZipFile(io.BytesIO(made)) as read:
        assert read.testzip() is None
        (about,) = read.infolist()
        assert (about.filename, about.date_time[:3]) == ("events.csv", (2026, 11, 18))
        assert read.read("events.csv") == b"".join(content)


def test_nothing_is_held_back_for_long():
    file = Zip("events.csv", NOW)
    chance = random.Random(2)
    ready = sum(len(file.write(chance.randbytes(65_536))) for _ in range(20))
    assert ready > 18 * 65_536


def test_a_file_of_nothing_and_a_clock_before_1980():
    file = Zip("empty.ndjson", 0)
    with zipfile.ZipFile(io.BytesIO(file.write(b"") + file.end())) as read:
        assert read.read("empty.ndjson") == b""
