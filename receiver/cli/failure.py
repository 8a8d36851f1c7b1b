"""What a command says when it cannot do what it was asked: one clear line on stderr and an exit code."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
import httpx2

from receiver.observe import escape
from receiver.settings import BadSettings
from receiver.storage.database import CannotStart, StorageError

FAILED = 1
CANNOT_START = 3


class Failure(click.ClickException):
    """Shown as `Error: …`, each further problem on a line of its own."""

    def __init__(self, *problems: str, exit_code: int = FAILED) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.exit_code = exit_code  # type: ignore[misc]  # click reads the instance's first

    def format_message(self) -> str:
        return "\n       ".join(escape(problem) for problem in self.problems)


def cannot_start(problems: Sequence[str]) -> Failure:
    return Failure(*problems, exit_code=CANNOT_START)


def described(error: Exception) -> str:
    return str(error) or type(error).__name__


@contextmanager
def told() -> Iterator[None]:
    """Every way in which a receiver, its settings or its database can fail, as a Failure."""
    try:
        yield
    except BadSettings as error:
        raise cannot_start(error.problems) from None
    except CannotStart as error:
        raise cannot_start([str(error)]) from None
    except StorageError as error:
        raise Failure(f"the database did not answer: {error}") from None
    except httpx2.TimeoutException:
        raise Failure("the receiver did not answer in time") from None
    except httpx2.HTTPStatusError as error:
        raise Failure(f"the receiver answered {error.response.status_code}") from None
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise Failure(f"the receiver cannot be reached: {described(error)}") from None
