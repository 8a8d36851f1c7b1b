"""The state of a message: its strongest report, whatever order the reports came in.

Strength is one total order, written as a string, so that a database keeps the state by comparing one column.
"""

import json
import re
from dataclasses import dataclass

# The first characters of a key. Of non-final reports and of final ones without a verdict, by status.
_UNSETTLED = {"unknown": "00", "accepted": "01", "sent": "02"}
_WITHOUT_VERDICT = {"unknown": "10", "accepted": "11", "sent": "12"}
_FAILURE, _DELIVERED, _READ = "2", "3", "4"
# Among failures of the same moment the larger digit stands.
_FAILURES = {"rejected": "5", "undelivered": "4", "failed": "3", "expired": "2", "canceled": "1"}

_SEPARATOR = "\x1f"
_NO_ORDER = "-"  # before any digit: a report with a time or sequence is stronger than one without
_LAST_ORDER = 10**20 - 1
_MAX_WORD = 64
_UNFIT = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_MAX_PARTS = 255  # 3GPP TS 23.040 section 9.2.3.24.1: the total is one octet
_MAX_PART_ID = 64


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a message: `status` and `final` are what API and events show.

    `key`    the strength of its strongest report; the larger one by UTF-8 bytes stands
    `parts`  JSON: by total (with `#` where parts have ids instead of numbers) the delivered parts, empty once all are
    """

    status: str
    final: bool
    key: str
    parts: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What one report says. `order`: the vendor's sequence as a number, or its time in unix microseconds."""

    status: str
    final: bool
    vendor_status: str | None
    vendor_code: str | None
    order: int | None
    part_id: str | None = None
    part_number: int | None = None
    part_total: int | None = None


def advance(before: State | None, evidence: Evidence) -> tuple[State, bool]:
    """The state after one more report, and whether the report is stale: the message was already further on.

    Any permutation and any repetition of the same reports ends in the same state, and none leads from final to
    non-final. A report about a part says of the message: delivered once every part of its total is; a failure of
    any part fails it; else it is sent. Where these rules and that property collide, the property stands:
    a part that failed keeps the message failed although that very part is delivered later, until all parts are;
    and parts are counted for each total apart, those with numbers and those with ids too.
    """
    known = before.parts if before else None
    if evidence.part_total is None or not _is_part(evidence):
        said = _of_message(evidence, known)
    else:
        said = _of_part(evidence, known)
    if before is None or said.key > before.key:
        return said, False
    stale = said.status != before.status
    if said.parts == before.parts:
        return before, stale
    return State(before.status, before.final, before.key, said.parts), stale


def _of_message(evidence: Evidence, parts: str | None) -> State:
    status = evidence.status
    if not evidence.final:
        return _unsettled(evidence, _shown(status), parts)
    if status == "delivered":
        return State(status, True, _DELIVERED + _words(evidence), parts)
    if status in _FAILURES:
        key = f"{_FAILURE}{_earlier(evidence.order)}{_FAILURES[status]}{_words(evidence)}"
        return State(status, True, key, parts)
    if status == "read":
        return State(status, True, _READ + _words(evidence), parts)
    shown = _shown(status)
    return State(shown, True, _WITHOUT_VERDICT[shown] + _words(evidence), parts)


def _unsettled(evidence: Evidence, shown: str, parts: str | None) -> State:
    return State(shown, False, f"{_UNSETTLED[shown]}{_later(evidence.order)}{_words(evidence)}", parts)


def _shown(status: str) -> str:
    """A non-final failure, delivery or reading is no more than sent; a word that the contract lacks is unknown."""
    if status in _UNSETTLED:
        return status
    return "sent" if status in _FAILURES or status in ("delivered", "read") else "unknown"


def _later(order: int | None) -> str:
    return _NO_ORDER if order is None else f"{min(max(order, 0), _LAST_ORDER):020d}"


def _earlier(order: int | None) -> str:
    return _NO_ORDER if order is None else f"{_LAST_ORDER - min(max(order, 0), _LAST_ORDER):020d}"


def _words(evidence: Evidence) -> str:
    return f"{_SEPARATOR}{_word(evidence.vendor_status)}{_SEPARATOR}{_word(evidence.vendor_code)}"


def _word(text: str | None) -> str:
    """A vendor's word as part of a key: short, and free of what a database refuses or the separator means."""
    if not text:
        return ""
    if not (text.isascii() and text.isprintable()):
        text = _UNFIT.sub("\ufffd", text)
    return text[:_MAX_WORD]


def _is_part(evidence: Evidence) -> bool:
    """Only a named part of a message that has several is one; any other report counts as the message's."""
    total = evidence.part_total
    return (
        total is not None and 1 < total <= _MAX_PARTS and (evidence.part_number is not None or bool(evidence.part_id))
    )


def _of_part(evidence: Evidence, parts: str | None) -> State:
    if evidence.final and evidence.status in _FAILURES:
        return _of_message(evidence, parts)
    if evidence.final and evidence.status in ("delivered", "read"):
        parts, complete = _with_delivered(parts, evidence)
        if complete:
            return State("delivered", True, _DELIVERED, parts)
    return _unsettled(evidence, "sent", parts)


def _with_delivered(parts: str | None, evidence: Evidence) -> tuple[str | None, bool]:
    """The record with one more delivered part, and whether that total is complete."""
    total, number = evidence.part_total or 0, evidence.part_number
    group, name = (
        (f"{total}#", (evidence.part_id or "")[:_MAX_PART_ID]) if number is None else (f"{total}", f"{number}")
    )
    known: dict[str, list[str]] = json.loads(parts) if parts else {}
    names = known.get(group)
    if names == []:
        return parts, True
    if number is not None and not 1 <= number <= total:
        return parts, False
    delivered = {name, *(names or ())}
    complete = len(delivered) == total
    known[group] = [] if complete else sorted(delivered)
    return json.dumps(known, sort_keys=True, separators=(",", ":")), complete
