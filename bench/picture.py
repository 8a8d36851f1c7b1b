"""The picture of cost against size: one line for an accept, one for a delivery, by the number of events stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

TITLE = "Cost of an accept and of a delivery by events stored"
WIDTH, HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 130, 50, 60
_COLOURS = {"accept": "#1f6feb", "delivery": "#d1570c"}
_GREY = "#7d8590"
_LINE_HEIGHT = 17
_STYLE = f"text{{font:13px sans-serif;fill:{_GREY}}}.t{{font-size:15px}}"


@dataclass(frozen=True, slots=True)
class _Axes:
    """From events and microseconds to places. An empty database stands one decade before the smallest other."""

    first: float
    last: float
    most: float

    def x(self, events: float) -> float:
        share = (log10(events) - self.first if events else 0) / (self.last - self.first)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, micros: float) -> float:
        return HEIGHT - _BOTTOM - micros / self.most * (HEIGHT - _TOP - _BOTTOM)


def drawn(cost: dict[str, list[float]]) -> str:
    """An SVG of `events` and the microseconds of each `accept` and `delivery` with so many stored."""
    stored = cost["events"]
    full = [log10(events) for events in stored if events]
    step = _step(max(max(cost[name]) for name in _COLOURS))
    most = step * ceil(max(max(cost[name]) for name in _COLOURS) * 1.05 / step)
    axes = _Axes(floor(min(full)) - 1, max(full), most)
    marks = _ground(axes, stored, step)
    for name, y in _apart({name: axes.y(cost[name][-1]) for name in _COLOURS}).items():
        marks += _line(axes, stored, cost[name], name, y + 4)
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{TITLE}">',
            f"<style>{_STYLE}</style>",
            _text(_LEFT, 24, f"{TITLE}: microseconds each", "start", "t"),
            *marks,
            "</svg>\n",
        ]
    )


def _step(most: float) -> float:
    """A round number, four to ten of which make the axis."""
    decade = 10.0 ** floor(log10(most))
    return decade if most / decade >= 4 else decade / 2 if most / decade >= 2 else decade / 4


def _ground(axes: _Axes, stored: Sequence[float], step: float) -> list[str]:
    marks = []
    for number in range(round(axes.most / step) + 1):
        y = axes.y(number * step)
        marks += [_rule(_LEFT, y, WIDTH - _RIGHT, y), _text(_LEFT - 10, y + 4, f"{number * step:g}", "end")]
    marks += [_text(axes.x(events), HEIGHT - _BOTTOM + 24, _short(events), "middle") for events in stored]
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    return [*marks, _text(middle, HEIGHT - 12, "events stored", "middle")]


def _line(axes: _Axes, stored: Sequence[float], micros: Sequence[float], name: str, label: float) -> list[str]:
    """With its name, and what it comes to, at the height of `label` behind its end."""
    points = [(axes.x(events), axes.y(value)) for events, value in zip(stored, micros, strict=True)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    colour = _COLOURS[name]
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points),
        f'<text x="{points[-1][0] + 12:.1f}" y="{label:.1f}" style="fill:{colour}">{name} {micros[-1]:,.0f}</text>',
    ]


def _apart(heights: dict[str, float]) -> dict[str, float]:
    """The same, none written over another."""
    placed: dict[str, float] = {}
    for name, y in sorted(heights.items(), key=lambda item: item[1]):
        placed[name] = max([y, *(other + _LINE_HEIGHT for other in placed.values())])
    return placed


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1}" y1="{y1:.1f}" x2="{x2}" y2="{y2:.1f}" stroke="{_GREY}" stroke-opacity="0.3"/>'


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{words}</text>'


def _short(events: float) -> str:
    if not events:
        return "empty"
    return f"{events / 1e6:g} M" if events >= 1e6 else f"{events / 1e3:g} k"
