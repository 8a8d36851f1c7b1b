"""Ids that sort by the order in which they were made: `evt_` and 26 characters of Crockford's base32, lower case.

Ten characters of milliseconds, twelve of randomness, four of a counter: the shape of a ULID.
"""

from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [one + other for one in _ALPHABET for other in _ALPHABET]
_PER_MILLISECOND = 1 << 20


class Ids:
    """Strictly increasing within a process, whatever the clock does, and above every id it was `seeded` with.

    clock     unix microseconds
    entropy   n random bytes
    """

    __slots__ = ("_clock", "_count", "_entropy", "_last", "_prefix")

    def __init__(self, clock: Callable[[], int], entropy: Callable[[int], bytes]) -> None:
        self._clock = clock
        self._entropy = entropy
        self._last = -1
        self._count = 0
        self._prefix = ""

    def new(self, kind: str) -> str:
        """`kind_` and a new id."""
        now = self._clock() // 1000
        if now > self._last:
            self._begin(now)
        elif self._count >= _PER_MILLISECOND:
            self._begin(self._last + 1)
        count = self._count
        self._count = count + 1
        return f"{kind}_{self._prefix}{_PAIRS[count >> 10]}{_PAIRS[count & 1023]}"

    def seed(self, newest: str | None) -> None:
        """Never go below `newest`, the last id of an earlier run (or None)."""
        if newest is not None:
            self._begin(max(self._last, _number(newest.partition("_")[2][:10])) + 1)

    def follow(self, newest: str | None) -> None:
        """The next ids are greater than `newest`, which another process made, however its clock goes."""
        if newest is not None:
            millisecond = _number(newest.partition("_")[2][:10])
            if millisecond >= max(self._last, self._clock() // 1000):
                self._begin(millisecond + 1)

    def _begin(self, millisecond: int) -> None:
        self._last = millisecond
        self._count = 0
        self._prefix = _text(millisecond, 10) + _text(int.from_bytes(self._entropy(8), "big") >> 4, 12)


def earliest(kind: str, micros: int) -> str:
    """What no id of that kind is below that was made at that time or later."""
    return f"{kind}_{_text(max(micros, 0) // 1000, 10)}"


def _text(number: int, width: int) -> str:
    """Two characters at a time; `width` is even."""
    return "".join([_PAIRS[(number >> shift) & 1023] for shift in range(5 * (width - 2), -1, -10)])


def _number(text: str) -> int:
    number = 0
    for character in text:
        number = number << 5 | _ALPHABET.index(character)
    return number


def moment(identifier: str) -> int:
    """When an id was made, in unix milliseconds; about that, where the clock was set back."""
    return _number(identifier.partition("_")[2][:10])
