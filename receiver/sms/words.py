"""The words of a text as a search compares them: without case and diacritics, in any script.

What has no blanks between words (Han, Kana, Thai, Lao, Khmer, Myanmar) is indexed by pairs of characters, so that any
piece of it is found. An index over `indexed` holds for each Term at least its `keys`; whether a text
really holds all that was asked for, `holds` says, the same on every engine.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import category, combining, normalize

LONGEST = 64
"""Characters of a word that are compared."""

# Blocks of scripts that are written without blanks, as of Unicode 15.1: https://www.unicode.org/reports/tr14/#SA and
# https://www.unicode.org/reports/tr24/. Hangul has blanks.
_UNSPACED = (
    "\u0e01-\u0e5b\u0e81-\u0edf\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aad\ua9e0-\ua9fe\uaa60-\uaadf"
    "\u2e80-\u2fd5\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303b\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001aff0-\U0001b16f\U00020000-\U000323af"
)
_UNSPACED_RUN = re.compile(f"([{_UNSPACED}]+)")
_PLAIN = re.compile(r"[a-z0-9]+")
# Marks that people leave out or type otherwise (accents, Hebrew and Arabic points) stand in these classes; vowels and
# tones of Indic and Thai script, nukta and the voicing of Kana stand in others.
# https://www.unicode.org/Public/UCD/latest/ucd/extracted/DerivedCombiningClass.txt
_LEFT_OUT = frozenset({1, *range(10, 37), *range(200, 241)})
# Letters with a stroke and the like, which Unicode does not take apart.
_ALIKE = str.maketrans({"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ħ": "h", "ŧ": "t", "ı": "i", "æ": "ae", "œ": "oe",
                        "ـ": ""})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Term:
    """One thing that must be in a text: a word, the beginning of one, or a run of a script without blanks."""

    text: str
    prefix: bool = False

    @property
    def keys(self) -> Sequence[tuple[str, bool]]:
        """What of an index to look up, and whether by its beginning; all of them must be there."""
        if _UNSPACED_RUN.fullmatch(self.text):
            pairs = [self.text[at : at + 2] for at in range(len(self.text) - 1)]
            return [(pair, False) for pair in pairs] or [(self.text, True)]
        return [(self.text, self.prefix)]


@lru_cache(maxsize=4096)
def _folded(character: str) -> str:
    """One character as it is compared: a blank where it belongs to no word, between blanks where it is one (emoji)."""
    plain = normalize("NFKD", normalize("NFKD", character).casefold())
    kept = [_letter(letter) for letter in plain if combining(letter) not in _LEFT_OUT]
    return "".join(kept).translate(_ALIKE)


def _letter(letter: str) -> str:
    kind = category(letter)
    if kind[0] in "LMN":
        return letter
    return f" {letter} " if kind in ("So", "Sc") and not letter.isascii() else " "


def fold(text: str) -> str:
    """The text in lower case and without diacritics, with blanks for all that belongs to no word."""
    return normalize("NFC", "".join(map(_folded, text)))


def _pieces(text: str) -> Iterator[str]:
    """Words, runs of a script without blanks, and single signs, in their order."""
    if text.isascii():
        yield from (word[:LONGEST] for word in _PLAIN.findall(text.lower()))
        return
    for run in _UNSPACED_RUN.split(fold(text)):
        if _UNSPACED_RUN.fullmatch(run):
            yield run
        else:
            yield from (word[:LONGEST] for word in run.split())


def indexed(text: str) -> Sequence[str]:
    """What an index keeps of a text, each once."""
    found: dict[str, None] = {}
    for piece in _pieces(text):
        if _UNSPACED_RUN.fullmatch(piece):
            found.update(dict.fromkeys(piece[at : at + 2] for at in range(len(piece))))
        else:
            found[piece] = None
    return list(found)


def query(text: str) -> Sequence[Term]:
    """What is asked for: every word, in any order; `*` behind one makes it a beginning. Empty when there is no word."""
    found: dict[Term, None] = {}
    for part in text.split():
        pieces = list(_pieces(part.rstrip("*")))
        for at, piece in enumerate(pieces):
            found[Term(piece, part.endswith("*") and at == len(pieces) - 1)] = None
    return list(found)


def holds(terms: Sequence[Term], text: str) -> bool:
    """Whether every term is in a text."""
    pieces = set(_pieces(text))
    return all(_is_in(term, pieces) for term in terms)


def _is_in(term: Term, pieces: set[str]) -> bool:
    if _UNSPACED_RUN.fullmatch(term.text):
        return any(term.text in piece for piece in pieces)
    return term.text in pieces or (term.prefix and any(piece.startswith(term.text) for piece in pieces))
