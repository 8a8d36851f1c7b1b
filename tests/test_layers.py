"""The layers of the house, held by reading every import: who may name whom, which library lives where, what is pure.

A lower row never imports a higher one; the two wings, intake and delivery, do not know each other. The rules are
proved to bite by planted violations at the end of this file.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "receiver"

ROWS: tuple[frozenset[str], ...] = (
    frozenset({"__main__", "cli", "demo", "app", "wiring", "world", "server", "protocol", "connections", "straight"}),
    frozenset({"api", "dashboard"}),
    frozenset({"intake", "delivery"}),
    frozenset({"storage", "egress", "addresses", "names", "observe", "throttle", "fixtures", "clock", "settings"}),
    frozenset(
        {"vendors", "formats", "delivery.retry", "delivery.signing", "delivery.outcome", "delivery.headers"}
        | {"delivery.health", "delivery.pacing"}
        | {"delivery.__init__"}  # the pure ones are reached through it
    ),
    frozenset({"sms"}),
)
ROOTS = ROWS[0]
WINGS = ROWS[2]
PURE = ROWS[4] | ROWS[5]
FOR_ROOTS_ALONE = frozenset({"app", "settings"})
OUTBOUND = frozenset({"app", "wiring", "egress", "delivery", "intake.poll", "cli", "demo"})

LIBRARIES: dict[str, frozenset[str]] = {
    "starlette": frozenset({"app", "server", "intake", "api", "dashboard"}),
    "httpx": OUTBOUND,
    "httpx2": OUTBOUND,
    "aiohttp": OUTBOUND,
    "aiosqlite": frozenset({"storage.sqlite"}),
    "sqlite3": frozenset({"storage"}),
    "asyncpg": frozenset({"storage.link", "storage.postgres"}),
    "uvicorn": frozenset({"server", "protocol", "app", "cli"}),
    "click": frozenset({"cli", "demo"}),
}

CLOCK_KEEPERS = frozenset({"app", "world", "server", "cli", "demo", "observe"})
CLOCKS = frozenset(
    {f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")}
    | {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"}
    | {"os.urandom", "random", "secrets", "uuid"}
)

IMPURE = frozenset(
    {
        "asyncio",
        "anyio",
        "concurrent",
        "threading",
        "multiprocessing",
        "subprocess",
        "signal",
        "queue",
        "time",
        "logging",
    }
    | {"socket", "ssl", "select", "selectors", "http.client", "http.server", "urllib.request", "sqlite3"}
    | {"os", "pathlib", "shutil", "tempfile", "importlib"}
)
IMPURE_CALLS = frozenset({"builtins.open", "builtins.print", "builtins.input"})
HIDDEN_IMPORTS = frozenset({"builtins.__import__", "importlib.import_module", "importlib.__import__"})


def within(name: str, places: Iterable[str]) -> str | None:
    """The longest of `places` that `name` is, or lies in: `delivery.retry` rather than `delivery`."""
    fitting = [place for place in places if name == place or name.startswith(f"{place}.")]
    return max(fitting, key=len, default=None)


def row_of(name: str) -> int | None:
    """The row of `delivery.retry`, counted from the top; None for a module that nobody gave a row."""
    place = within(name, frozenset().union(*ROWS))
    return next((number for number, row in enumerate(ROWS) if place in row), None)


def imported(module: str, tree: ast.AST) -> Iterator[tuple[int, str, str, str]]:
    """(line, full name, name it is bound to, what that name means) of each import, relative ones resolved."""
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                yield node.lineno, alias.name, alias.asname or first, alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            for alias in node.names:
                full = ".".join([*base, *([node.module] if node.module else []), alias.name])
                yield node.lineno, full, alias.asname or alias.name, full


def referred(tree: ast.AST, bound: dict[str, str]) -> Iterator[tuple[int, str]]:
    """(line, full name) of every name, with its attributes, that leads back to an import, or may be a builtin."""
    for node in ast.walk(tree):
        names: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            names.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
            yield inner.lineno, ".".join([bound.get(inner.id, f"builtins.{inner.id}"), *names])


def violations(module: str, source: str) -> list[str]:
    """What the module `receiver.….name` (a package's own file: `….__init__`) does that it must not, one line each."""
    tree = ast.parse(source)
    name = module.removeprefix("receiver.")
    imports = list(imported(module, tree))
    bound = {alias: meaning for _, _, alias, meaning in imports}
    found = [(line, problem) for line, target, _, _ in imports for problem in import_problems(name, target)]
    found += [(line, problem) for line, target in referred(tree, bound) for problem in reference_problems(name, target)]
    return [f"{module}:{line}: {problem}" for line, problem in sorted(set(found))]


def import_problems(name: str, target: str) -> Iterator[str]:
    if target.partition(".")[0] == "receiver":
        yield from house_problems(name, target.removeprefix("receiver").removeprefix("."))
        return
    library = within(target, LIBRARIES)
    if library and not within(name, LIBRARIES[library]):
        yield f"{library} has no place here"
    if within(target, CLOCKS) and not within(name, CLOCK_KEEPERS):
        yield f"{target} is handed in by app, never taken"
    if is_pure(name) and within(target, IMPURE):
        yield f"{target} is not pure"


def house_problems(name: str, target: str) -> Iterator[str]:
    if target in {"", "__version__"}:
        return
    own, other = row_of(name), row_of(target)
    if own is None or other is None:
        yield f"{name if own is None else target} has no row in tests/test_layers.py"
        return
    if other < own:
        yield f"{target} lies in a higher row"
    if within(target, FOR_ROOTS_ALONE) and not within(name, ROOTS):
        yield f"{target} is for {', '.join(sorted(ROOTS))} alone"
    if own == other and within(name, WINGS) != within(target, WINGS):
        yield f"{target} is the other wing"


def reference_problems(name: str, target: str) -> Iterator[str]:
    if target in CLOCKS and not within(name, CLOCK_KEEPERS):
        yield f"{target} is handed in by app, never taken"
    if is_pure(name) and target in IMPURE_CALLS:
        yield f"{target} is not pure"
    if target in HIDDEN_IMPORTS:
        yield f"{target} hides what is imported"


def is_pure(name: str) -> bool:
    return (row_of(name) or 0) >= 4


def modules() -> list[tuple[str, Path]]:
    return sorted(
        (".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts), path) for path in PACKAGE.rglob("*.py")
    )


@pytest.mark.parametrize(("module", "path"), [pytest.param(*found, id=found[0]) for found in modules()])
def test_a_module_keeps_to_its_layer(module: str, path: Path):
    assert violations(module, path.read_text("utf-8")) == []


def test_every_module_has_a_row():
    names = [module.removeprefix("receiver.") for module, _ in modules()]
    assert len(names) > 20
    assert [name for name in names if row_of(name) is None and name != "__init__"] == []


PLANTED = [
    # a lower row imports a higher one, in every way of writing it
    ("receiver.sms.state", "from receiver.vendors import contract", "vendors.contract lies in a higher row"),
    ("receiver.sms.state", "import receiver.vendors.fields", "vendors.fields lies in a higher row"),
    ("receiver.sms.state", "from ..vendors import contract", "vendors.contract lies in a higher row"),
    ("receiver.sms.state", "from .. import vendors", "vendors lies in a higher row"),
    ("receiver.sms.__init__", "from ..storage import events", "storage.events lies in a higher row"),
    ("receiver.sms.state", "def f():\n    from receiver.storage import ids", "storage.ids lies in a higher row"),
    ("receiver.sms.state", "if TYPE_CHECKING:\n    import receiver.api", "api lies in a higher row"),
    ("receiver.vendors.x", "from receiver.fixtures import find", "fixtures.find lies in a higher row"),
    ("receiver.formats.x", "from receiver.delivery.post import post", "delivery.post.post lies in a higher row"),
    ("receiver.storage.events", "from receiver.delivery.dispatcher import D", "delivery.dispatcher.D lies in a higher"),
    ("receiver.storage.events", "from receiver.intake import receive", "intake.receive lies in a higher row"),
    ("receiver.egress", "from receiver.api import problems", "api.problems lies in a higher row"),
    ("receiver.delivery.retry", "from receiver.delivery.lane import Lane", "delivery.lane.Lane lies in a higher row"),
    ("receiver.delivery.retry", "from .lane import Lane", "delivery.lane.Lane lies in a higher row"),
    ("receiver.delivery.__init__", "from .dispatcher import D", "delivery.dispatcher.D lies in a higher row"),
    ("receiver.intake.receive", "from receiver.api import problems", "api.problems lies in a higher row"),
    ("receiver.api.events", "from receiver.server import serve", "server.serve lies in a higher row"),
    # the wings
    ("receiver.intake.receive", "from receiver.delivery import dispatcher", "delivery.dispatcher is the other wing"),
    ("receiver.delivery.lane", "from receiver.intake.receive import x", "intake.receive.x is the other wing"),
    # app and settings
    ("receiver.storage.ids", "from receiver.world import World", "world.World lies in a higher row"),
    ("receiver.api.events", "from receiver.settings import Settings", "settings.Settings is for"),
    ("receiver.storage.sqlite", "from receiver import settings", "settings is for"),
    ("receiver.api.events", "from receiver.app import create_app", "app.create_app is for"),
    # a module without a row
    ("receiver.sms.state", "from receiver.helpers import x", "helpers.x has no row"),
    ("receiver.helpers", "from receiver.sms import state", "helpers has no row"),
    # libraries
    ("receiver.delivery.lane", "from starlette.requests import Request", "starlette has no place here"),
    ("receiver.storage.events", "import starlette", "starlette has no place here"),
    ("receiver.api.events", "import httpx2", "httpx2 has no place here"),
    ("receiver.intake.receive", "from aiohttp import ClientSession", "aiohttp has no place here"),
    ("receiver.storage.batch", "import aiosqlite", "aiosqlite has no place here"),
    ("receiver.storage.sqlite", "import asyncpg", "asyncpg has no place here"),
    ("receiver.api.events", "import sqlite3", "sqlite3 has no place here"),
    ("receiver.intake.receive", "import uvicorn", "uvicorn has no place here"),
    ("receiver.app", "import click", "click has no place here"),
    # clock, randomness, ids
    ("receiver.delivery.lane", "import time\ntime.monotonic()", "time.monotonic is handed in by app"),
    ("receiver.delivery.lane", "import time as t\nnow = t.time_ns", "time.time_ns is handed in by app"),
    ("receiver.delivery.lane", "from time import monotonic as now", "time.monotonic is handed in by app"),
    ("receiver.delivery.lane", "import random", "random is handed in by app"),
    ("receiver.wiring", "import time\ntime.time_ns()", "time.time_ns is handed in by app"),
    ("receiver.delivery.lane", "from random import random", "random.random is handed in by app"),
    ("receiver.api.keys", "import secrets", "secrets is handed in by app"),
    ("receiver.storage.ids", "import os\nos.urandom(8)", "os.urandom is handed in by app"),
    ("receiver.storage.ids", "from os import urandom", "os.urandom is handed in by app"),
    ("receiver.storage.ids", "from uuid import uuid4", "uuid.uuid4 is handed in by app"),
    ("receiver.intake.receive", "from datetime import datetime\ndatetime.now(UTC)", "datetime.datetime.now is handed"),
    ("receiver.intake.receive", "from datetime import datetime as D\nD.utcnow()", "datetime.datetime.utcnow is handed"),
    ("receiver.intake.receive", "import datetime\ndatetime.datetime.now()", "datetime.datetime.now is handed in"),
    ("receiver.intake.receive", "import datetime as d\nd.date.today()", "datetime.date.today is handed in"),
    # purity
    ("receiver.vendors.x", "import asyncio", "asyncio is not pure"),
    ("receiver.vendors.x", "import os.path", "os.path is not pure"),
    ("receiver.vendors.x", "from urllib import request", "urllib.request is not pure"),
    ("receiver.sms.x", "import logging", "logging is not pure"),
    ("receiver.delivery.signing", "from time import sleep", "time.sleep is not pure"),
    ("receiver.formats.x", "text = open('x').read()", "builtins.open is not pure"),
    ("receiver.formats.x", "print(1)", "builtins.print is not pure"),
    # what would slip through
    ("receiver.api.events", "m = __import__('receiver.app')", "__import__ hides what is imported"),
    ("receiver.api.events", "import importlib\nimportlib.import_module('x')", "importlib.import_module hides"),
    ("receiver.api.events", "from importlib import import_module\nimport_module('x')", "importlib.import_module hides"),
]

ALLOWED = [
    ("receiver.cli", "from receiver.app import create_app\nfrom receiver.settings import load\nimport click, uvicorn"),
    ("receiver.cli.sources", "import httpx2, time\ntime.time()\nfrom receiver.settings import load"),
    ("receiver.world", "import os, random, time\ntime.time_ns()\nx = os.urandom"),
    ("receiver.app", "import secrets, time\nfrom receiver.server import serve\nfrom starlette.applications import S"),
    ("receiver.demo", "from receiver import app, fixtures, settings\nimport aiohttp"),
    ("receiver.__main__", "from receiver.cli import main"),
    ("receiver.api.events", "from receiver.delivery.headers import check\nfrom receiver.storage import events"),
    ("receiver.intake.poll", "import httpx2"),
    ("receiver.intake.receive", "from receiver.delivery import retry\nfrom .answers import x"),
    ("receiver.delivery.lane", "from receiver.delivery.retry import decide\nfrom receiver import egress, __version__"),
    ("receiver.storage.sqlite", "import aiosqlite, sqlite3, time\ntime.sleep(1)\nimport os\nos.open('x', 0)"),
    ("receiver.storage.events", "from receiver.sms.events import Event\nfrom receiver.observe import log"),
    ("receiver.observe", "import time\nfrom datetime import datetime\ndatetime.now()\ntime.monotonic()"),
    (
        "receiver.vendors.x",
        "from datetime import datetime\ndatetime.fromisoformat('x')\nfrom urllib.parse import quote",
    ),
    ("receiver.sms.x", "def f(time, random):\n    return time.time() + random"),
    ("receiver.vendors.x", "class X:\n    def open(self): ...\nX().open()"),
]


@pytest.mark.parametrize(("module", "source", "expected"), PLANTED)
def test_a_planted_violation_is_found(module: str, source: str, expected: str):
    assert any(expected in line for line in violations(module, source)), violations(module, source)


@pytest.mark.parametrize(("module", "source"), ALLOWED)
def test_what_is_allowed_is_left_alone(module: str, source: str):
    assert violations(module, source) == []


def test_a_violation_is_told_with_its_place():
    assert violations("receiver.sms.state", "x = 1\nimport receiver.app\n") == [
        (
            "receiver.sms.state:2: app is for __main__, app, cli, connections, demo, protocol, server, straight, wiring, "
            "world alone"
        ),
        "receiver.sms.state:2: app lies in a higher row",
    ]
