"""A zip of one file, made as its content comes, of any size and at flat memory. Pure.

https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT (sizes follow the content: general purpose bit 3, zip64)
"""

import zipfile
from datetime import UTC, datetime, timedelta

from receiver.sms.timestamps import DAY

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OLDEST = 3653 * DAY
"""1980, before which the format knows no time."""


class Zip:
    """`write` and `end` return what of the zip is ready. `now` is the file's time, in unix microseconds."""

    def __init__(self, name: str, now: int) -> None:
        self._sink = _Sink()
        self._zip = zipfile.ZipFile(self._sink, "w", zipfile.ZIP_DEFLATED)
        moment = _EPOCH + timedelta(microseconds=max(now, _OLDEST))
        about = zipfile.ZipInfo(name, moment.timetuple()[:6])
        about.compress_type = zipfile.ZIP_DEFLATED
        about.external_attr = 0o600 << 16
        self._file = self._zip.open(about, "w", force_zip64=True)

    def write(self, data: bytes) -> bytes:
        self._file.write(data)
        return self._sink.taken()

    def end(self) -> bytes:
        """The rest. Without it, the zip is not whole."""
        self._file.close()
        self._zip.close()
        return self._sink.taken()


class _Sink:
    """A file that can only be written to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def taken(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data
