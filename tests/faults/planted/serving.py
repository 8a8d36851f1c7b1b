"""How a receiver with something wrong is run: like `receiver serve`, with the settings of the environment."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from receiver.app import App
from receiver.observe import start_logging
from receiver.server import run
from receiver.settings import Settings, load


def serve(build: Callable[[Settings], App]) -> None:
    settings = load(None, os.environ)
    lines = start_logging(settings.log_level, settings.log_format)
    code = run(lambda: build(settings), _greet)
    lines.close()
    sys.exit(code)


def _greet(url: str, _owner: Path | None) -> None:
    print(f"listens on {url}", flush=True)  # noqa: T201 — as the command does
