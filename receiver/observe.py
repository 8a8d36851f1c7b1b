"""What the operator sees: log lines, counters and health. Every stage of a message's way reports here, with ids only.

A line never holds a secret, a message's text or a full phone number, and never holds up the event loop: a thread writes
the lines, and when nobody reads them they are dropped and counted.
"""

import errno
import json
import logging
import os
import queue
import re
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]
Value = str | int | float | bool | None

LEVELS: Mapping[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
MASK = "[masked]"
LONGEST = 500
"""Characters of one value; the rest is cut."""
SERIES = 1000
"""Label sets of one counter; vendors choose some of the words, so their number must have an end."""

_LOGGER = logging.getLogger("receiver")

_SECRET_WORDS = frozenset({"apikey", "authorization", "body", "cookie", "credential", "credentials", "passwd"})
_SECRET_WORDS |= {"password", "secret", "secrets", "signature", "text", "token", "tokens"}
_SECRET_NAMES = frozenset({"key", "api_key"})
_NUMBER_WORDS = frozenset({"msisdn", "number", "phone"})
_NUMBER_NAMES = frozenset({"from", "to"})
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")

_PLAIN = re.compile(r"(?!whsec_)[\w.:-]{0,100}")
_INTERNATIONAL = re.compile(r"\+[0-9][0-9 ().-]{5,20}[0-9]")
_DIGITS = re.compile(r"(?<![\w.:-])[0-9]{9,15}(?![\w.:-])")
_SECRETS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',;]+"), rf"\1 {MASK}"),
    (re.compile(r"\bwhsec_[A-Za-z0-9+/=_-]+"), f"whsec_{MASK}"),
    (re.compile(r"(/in/[^/\s?]+/)[^/\s?\"']+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(sig|token|key|secret|password)=[^\s&\"']+"), rf"\1={MASK}"),
)

# What breaks a line, moves the cursor, hides or turns the reading direction: controls, bidi marks, lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_BARE = re.compile(r"[\w.:/@+…\[\]-]+")


def mask_number(number: str) -> str:
    """`+447700900123` → `+44770…123`: enough to recognise, too little to call. Short ones show less."""
    head, tail = min(6, len(number) // 2), min(3, len(number) // 4)
    return f"{number[:head]}…{number[len(number) - tail :]}"


def escape(text: str) -> str:
    """The same text with control, bidi, invisible and lone surrogate characters written as JSON would."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def scrub(text: str) -> str:
    """A text without tokens, secrets and international numbers, cut to a bearable length."""
    if _PLAIN.fullmatch(text):
        return text
    text = text[: 2 * LONGEST]
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    text = _INTERNATIONAL.sub(lambda match: mask_number(match[0]), text)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def log(event: str, /, *, level: Level = "info", exc: BaseException | None = None, **ids: Value) -> None:
    """One line: `receipt.stored` and its ids. Of `exc` it has types and places, never the message: that may quote."""
    number = LEVELS[level]
    if _LOGGER.isEnabledFor(number):
        cause = (type(exc), exc, exc.__traceback__) if exc else None
        record = logging.LogRecord("receiver", number, "", 0, event, (), cause)  # no search for the caller's line
        record.__dict__["ids"] = ids
        _LOGGER.handle(record)


class LineFormatter(logging.Formatter):
    """A record as one redacted line, without its end."""

    def __init__(self, style: Format) -> None:
        super().__init__()
        self._json = style == "json"

    def format(self, record: logging.LogRecord) -> str:
        fields = _fields(record)
        if self._json:
            return json.dumps(fields).replace("\x7f", "\\u007f")  # json escapes all but ASCII, and DEL is ASCII
        lead = f"{fields.pop('time')} {str(fields.pop('level')).upper()} {_quoted(fields.pop('event'))}"
        return " ".join([lead, *(f"{name}={_quoted(value)}" for name, value in fields.items())])


@lru_cache(maxsize=1)
def _second(unix: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix))


def _fields(record: logging.LogRecord) -> dict[str, Value]:
    """Our records have an event and named ids; those of libraries have free text, where any digits may be a number."""
    stamp = f"{_second(int(record.created))}.{int(record.msecs):03d}Z"
    fields: dict[str, Value] = {"time": stamp, "level": record.levelname.lower()}
    ids: Mapping[str, Value] | None = getattr(record, "ids", None)
    if ids is None:
        message = _DIGITS.sub(lambda match: mask_number(match[0]), scrub(record.getMessage()))
        fields |= {"event": "log", "logger": record.name, "message": message}
    else:
        fields["event"] = record.getMessage()
        for name, value in ids.items():
            fields[f"{name}_" if name in fields else name] = _redacted(name, value)
    if record.exc_info and record.exc_info[1] is not None:
        fields["exception"] = _described(record.exc_info[1])
    return fields


@cache
def _kind(name: str) -> Literal["secret", "number", "plain"]:
    """What a name promises of its value; names are words of our code, so there are few."""
    words = {word.lower() for word in _WORDS.findall(name)}
    if words & _SECRET_WORDS or name.lower() in _SECRET_NAMES:
        return "secret"
    return "number" if words & _NUMBER_WORDS or name.strip("_") in _NUMBER_NAMES else "plain"


def _redacted(name: str, value: object) -> Value:
    kind = _kind(name)
    if value is None or (kind == "secret" and value == ""):
        return value
    if kind == "secret":
        return MASK
    if isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else f"<{type(value).__name__}>"
    return mask_number(text) if kind == "number" else scrub(text)


def _quoted(value: Value) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if _BARE.fullmatch(text) else escape(json.dumps(text, ensure_ascii=False))


def _described(exc: BaseException, depth: int = 3) -> str:
    """`OSError ENOSPC (sqlite.py:41 commit < batch.py:20 run) from KeyError (…)`: innermost frame first, no message."""
    name = type(exc).__name__
    if isinstance(exc, OSError) and exc.errno is not None:
        name += f" {errno.errorcode.get(exc.errno, exc.errno)}"
    elif isinstance(code := getattr(exc, "sqlite_errorname", None), str):
        name += f" {code}"
    if isinstance(exc, BaseExceptionGroup) and depth:
        name += f" of {', '.join(_described(part, depth - 1) for part in exc.exceptions[:5])}"
    frames = traceback.extract_tb(exc.__traceback__, limit=-5)[::-1]
    if frames:
        name += f" ({' < '.join(f'{Path(frame.filename).name}:{frame.lineno} {frame.name}' for frame in frames)})"
    cause = exc.__cause__ or (None if exc.__suppress_context__ else exc.__context__)
    return f"{name} from {_described(cause, depth - 1)}" if cause and depth else name


class LineHandler(logging.Handler):
    """Hands lines to a thread that writes them to a file descriptor; never blocks the caller.

    When `capacity` lines wait because nobody reads the pipe, further ones are dropped and counted, and a `log.dropped`
    line tells of them once there is room. Descriptors instead of streams: a thread that hangs in a stream's lock stops
    the interpreter from ending.
    """

    def __init__(self, style: Format, descriptor: int, capacity: int = 10_000) -> None:
        super().__init__()
        self.setFormatter(LineFormatter(style))
        self._descriptor = descriptor
        self._capacity = capacity
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._refused = 0
        self._lost = 0
        self._told = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Lines that were never written."""
        return self._refused + self._lost

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= self._capacity:
            self._refused += 1
            return
        try:
            self._lines.put(self.format(record))
        except Exception:  # noqa: BLE001 - a bad record must not fail the work that it tells of
            self._refused += 1

    def close(self, patience: float = 1.0) -> None:
        """Writes what waits, for `patience` seconds at most."""
        logging.getLogger().removeHandler(self)
        if self._thread.is_alive():
            self._lines.put(None)
            self._thread.join(patience)
        super().close()

    def _run(self) -> None:
        lines: list[str | None] = [""]
        while lines[-1] is not None:
            lines = self._take()
            self._write([line for line in lines if line is not None])

    def _take(self) -> list[str | None]:
        """Waits for a line, then takes what else is there: one write for many lines."""
        lines = [self._lines.get()]
        while len(lines) < 500 and lines[-1] is not None and not self._lines.empty():
            lines.append(self._lines.get())
        return lines

    def _write(self, lines: Sequence[str]) -> None:
        dropped = self.dropped
        notice = [self._notice(dropped - self._told)] if dropped > self._told else []
        data = "".join(f"{line}\n" for line in [*lines, *notice]).encode("utf-8", "backslashreplace")
        try:
            _write_all(self._descriptor, data)
            self._told = dropped
        except OSError:
            self._lost += len(lines)

    def _notice(self, count: int) -> str:
        return self.format(
            logging.makeLogRecord({"levelname": "WARNING", "msg": "log.dropped", "ids": {"lines": count}})
        )


def _write_all(descriptor: int, data: bytes) -> None:
    """os.write takes what fits; a descriptor that somebody made non-blocking says EAGAIN."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            time.sleep(0.05)


def start_logging(level: Level, style: Format, descriptor: int = 2) -> LineHandler:
    """From now on every line goes to `descriptor`: ours from `level` on, those of libraries from warnings on.

    The caller closes the handler at the end.
    """
    handler = LineHandler(style, descriptor)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    _LOGGER.setLevel(LEVELS[level])
    return handler


def redact_last_resort() -> None:
    """For commands that start no log: what they have to tell, from warnings on, is a line like all others.

    https://docs.python.org/3/library/logging.html#logging.lastResort
    """
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(LineFormatter("text"))


Labels = tuple[tuple[str, str], ...]


class Counters:
    """How often what happened, by name and labels: `increment("receipts", outcome="stored", vendor="twilio")`, quickest
    with the labels in the order of the alphabet.

    Made for one event loop; a count from another thread may be lost, the table cannot break.
    """

    def __init__(self) -> None:
        self._series: dict[str, dict[Labels, int]] = {}

    def increment(self, name: str, amount: int = 1, /, **labels: str) -> None:
        key: Labels = tuple(labels.items())
        try:
            self._series[name][key] += amount
        except KeyError:  # the first time, or in another order
            self._add(self._series.setdefault(name, {}), _bounded(key), amount)

    def _add(self, series: dict[Labels, int], key: Labels, amount: int) -> None:
        if key not in series and len(series) >= SERIES:
            key = (("overflow", "true"),)
        series[key] = series.get(key, 0) + amount

    def snapshot(self) -> dict[str, int]:
        """`receipts{outcome="stored",vendor="twilio"}` → count, in the order of first occurrence."""
        return {
            f"{name}{{{','.join(f'{label}={json.dumps(value)}' for label, value in key)}}}" if key else name: count
            for name, series in list(self._series.items())
            for key, count in list(series.items())
        }


def _bounded(key: Labels) -> Labels:
    return tuple(sorted((label, value[:100]) for label, value in key))


class Health:
    """Why this process is not ready, for `/readyz`: a set of named causes, empty when all is well."""

    def __init__(self) -> None:
        self._causes: dict[str, None] = {}

    def fail(self, cause: str) -> None:
        self._causes[cause] = None

    def clear(self, cause: str) -> None:
        self._causes.pop(cause, None)

    def causes(self) -> Sequence[str]:
        """In the order in which they came up."""
        return tuple(self._causes)
