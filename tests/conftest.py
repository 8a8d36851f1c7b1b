"""Async tests run on asyncio without a plugin's fixtures: what a test opens, it closes itself."""

import asyncio
import gc
import inspect
import os
from collections.abc import Generator, Iterator

import pytest

from receiver.storage.database import Engine
from tests import engines, postgres


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    asyncio.run(pyfuncitem.obj(**arguments), debug=False)
    return True


@pytest.fixture(autouse=True)
def _no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own RECEIVER_* must not reach a test."""
    for name in list(os.environ):
        if name.startswith("RECEIVER_") and not name.startswith("RECEIVER_TEST_"):
            monkeypatch.delenv(name)


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Every test that uses it runs once on each."""
    engines.choose(request.param)
    yield request.param
    engines.unchoose()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules and tests stay to the end: to look through a million objects for garbage again and again is no use."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that say that they may take long begin, so that in the end no worker waits for another; the order is random
    but for that.
    """
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    postgres.drop_all()
