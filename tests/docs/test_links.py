"""Links in the docs lead somewhere: to a file that is there, a heading that it has, a name that it defines."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.markdown import DOCS, PAGES, ROOT, anchors, links

_NAME = re.compile(r"`([A-Za-z_][A-Za-z0-9_]*(?:\.[a-z_]+)?)`")


def of(page: Path) -> str:
    return page.read_text("utf-8")


def relative(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Text, file and heading of each link into this repository."""
    for text, target in links(of(page)):
        if not target.startswith(("http://", "https://", "mailto:")):
            name, _, heading = target.partition("#")
            yield text, (page.parent / name).resolve() if name else page, heading


def defined(path: Path) -> set[str]:
    """The names at the top of a module, and the methods of its classes."""
    names: set[str] = set()
    for node in ast.parse(of(path)).body:
        match node:
            case ast.ClassDef(name=name, body=body):
                names.add(name)
                names |= {
                    f"{name}.{each.name}" for each in body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
                }
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {target.id for target in targets if isinstance(target, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return names


def pages() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pages()
def test_linked_files_and_headings_are_there(page: Path):
    for text, path, heading in relative(page):
        assert path.exists(), f"[{text}] leads nowhere: {path}"
        assert path.is_relative_to(ROOT), text
        if heading:
            assert heading in anchors(of(path)), f"[{text}]: {path.name} has no heading {heading}"


@pages()
def test_a_linked_name_is_defined_in_the_linked_module(page: Path):
    for text, path, _ in relative(page):
        name = _NAME.fullmatch(text)
        if name and path.suffix == ".py":
            assert name[1] in defined(path), f"{path.relative_to(ROOT)} does not define {name[1]}"


def test_the_walk_through_the_architecture_names_functions():
    named = [path.name for text, path, _ in relative(DOCS / "architecture.md") if _NAME.fullmatch(text)]
    assert len(set(named)) >= 12


def test_every_page_of_the_docs_is_reached_from_the_readme():
    reached = {ROOT / "README.md"}
    while more := {path for page in reached for _, path, _ in relative(page) if path.suffix == ".md"} - reached:
        reached |= more
    assert set(DOCS.glob("*.md")) <= reached


@pages()
def test_nothing_in_the_docs_is_of_one_machine_only(page: Path):
    text = of(page)
    assert not re.search(r"/(home|root|Users|tmp)/|TODO|FIXME", text), page
