"""Markdown as the docs use it: tables, code blocks by language, links, anchors, and the marks of generated parts."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES: Sequence[Path] = (*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md")))

_GENERATED = re.compile(r"<!-- generated: ([\w-]+) \(make docs\) -->\n.*?<!-- end -->\n", re.DOTALL)
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code and the line of the page on which it begins."""

    language: str
    text: str
    line: int


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [_row(header), "|" + "---|" * len(header), *[_row([cell(text) for text in row]) for row in rows]]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def code(*words: str) -> str:
    return ", ".join(f"`{word}`" for word in words)


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```\n"


def filled(page: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """The page with what stands between each pair of marks made anew; a mark without a part is a KeyError."""
    return _GENERATED.sub(
        lambda mark: f"<!-- generated: {mark[1]} (make docs) -->\n\n{parts[mark[1]]()}\n<!-- end -->\n", page
    )


def parts_of(page: str) -> Sequence[str]:
    return [mark[1] for mark in _GENERATED.finditer(page)]


def blocks(page: str, *languages: str) -> Sequence[Block]:
    """The page's code blocks in order, of these languages or of all."""
    found = [Block(match[1], match[2], page.count("\n", 0, match.start()) + 1) for match in _FENCE.finditer(page)]
    return [block for block in found if not languages or block.language in languages]


def links(page: str) -> Sequence[tuple[str, str]]:
    """Text and target of every link outside of code blocks."""
    return _LINK.findall(_FENCE.sub("", page))


def anchors(page: str) -> set[str]:
    """The names that headings can be linked by, as GitHub makes them."""
    return {anchor(heading) for heading in _HEADING.findall(_FENCE.sub("", page))}


def anchor(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.lower())
    return kept.replace(" ", "-")
