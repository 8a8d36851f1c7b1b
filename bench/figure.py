"""A figure of a run: what was measured and its reference, round by round, and what is wanted of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(kw_only=True)
class Figure:
    """`aim` is the least ratio wanted, with `at_most` the largest; without a reference it is of the measured value.

    beside   what else was seen, one value a round
    notes    what cannot be said in numbers
    detail   medians of a finer kind, for the file of results
    """

    name: str
    unit: str
    against: str
    aim: float | None
    at_most: bool = False
    measured: list[float] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    beside: dict[str, list[float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    detail: dict[str, float] = field(default_factory=dict)

    def see(self, **values: float) -> None:
        """One round's values beside; `_` in a name stands for a blank."""
        for name, value in values.items():
            self.beside.setdefault(name.replace("_", " "), []).append(value)

    @property
    def ratio(self) -> float | None:
        return median(self.measured) / median(self.reference) if self.reference else None

    @property
    def reached(self) -> bool | None:
        """Whether the aim is; None where there is none."""
        value = median(self.measured) if self.ratio is None else self.ratio
        if self.aim is None:
            return None
        return value <= self.aim if self.at_most else value >= self.aim

    def document(self) -> dict[str, Any]:
        return asdict(self) | {"ratio": self.ratio, "rounds": len(self.measured)}


COLUMNS = ("figure", "measured", "against", "ratio", "aim", "beside")
_LINE = "|---|---:|---:|---:|---:|---|"


def table(figures: Sequence[Figure]) -> str:
    """In Markdown."""
    return "\n".join([f"| {' | '.join(COLUMNS)} |", _LINE, *(_row(item) for item in figures)])


def _row(item: Figure) -> str:
    against = f"{amount(median(item.reference))} {item.unit}, {item.against}" if item.reference else item.against or "–"
    aim, measured = "–", f"{amount(median(item.measured))} {item.unit}"
    if item.aim is not None:
        aim = ("≤ " if item.at_most else "≥ ") + f"{item.aim:g}" + (f" {item.unit}" if not item.reference else "")
    ratio = "–" if item.ratio is None else f"{item.ratio:.2f}"
    if item.reached is False:
        aim += " (missed)"
    beside = [f"{name} {amount(median(values))}" for name, values in item.beside.items()]
    return f"| {item.name} | {measured} | {against} | {ratio} | {aim} | {'; '.join([*beside, *item.notes])} |"


def amount(value: float) -> str:
    """Three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
