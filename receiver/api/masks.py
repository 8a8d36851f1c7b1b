"""What stands in for a secret in an answer, and what it means when it comes back: keep the one that is there."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, SecretStr

from receiver.api.shapes import MASK

NOTHING_TO_KEEP = f"{MASK} stands for a value that is kept, and there is none"

JSON = dict[str, Any] | list[Any] | str | int | float | bool | None


def dumped(model: BaseModel, secret: Callable[[SecretStr], str], *, only_given: bool = False) -> dict[str, JSON]:
    """A model as JSON, each secret as `secret` shows it."""
    values = model.model_dump(by_alias=True, exclude_unset=only_given)
    return {name: _plain(value, secret) for name, value in values.items()}


def hidden(_secret: SecretStr) -> str:
    return MASK


def revealed(secret: SecretStr) -> str:
    return secret.get_secret_value()


def _plain(value: object, secret: Callable[[SecretStr], str]) -> JSON:
    match value:
        case SecretStr():
            return secret(value)
        case Mapping():
            return {str(name): _plain(item, secret) for name, item in value.items()}
        case None | bool() | int() | float() | str():
            return value
        case Sequence():
            return [_plain(item, secret) for item in value]
        case _:  # networks and the like, which have one way to be written
            return str(value)


def kept(given: Sequence[str], old: Sequence[str]) -> Sequence[str]:
    """Values with each mask replaced by an old one: the first mask stands for the first of them, and so on; a lone
    mask for them all. Raises ValueError when there is none left.
    """
    if list(given) == [MASK] and old:
        return tuple(old)
    rest = iter(old)
    try:
        return tuple([next(rest) if value == MASK else value for value in given])
    except StopIteration:
        raise ValueError(NOTHING_TO_KEEP) from None


def kept_deep(given: object, old: object) -> Any:
    """JSON with each mask replaced by what stands in its place in `old`, where there is something."""
    if isinstance(given, dict):
        before = old if isinstance(old, dict) else {}
        return {name: kept_deep(value, before.get(name)) for name, value in given.items()}
    return old if given == MASK and isinstance(old, str) else given
