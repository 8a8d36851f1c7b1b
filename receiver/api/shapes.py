"""What answers have in common: pages, times as text, and the mask that stands for a secret."""

from collections.abc import Mapping
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, Field

from receiver.sms.timestamps import to_text

MASK = "***"

Item = TypeVar("Item")
Time = Annotated[
    str,
    Field(examples=["2026-11-20T14:47:03.123Z"], description="UTC, milliseconds, Z"),
]


class Page(BaseModel, Generic[Item]):
    """A page of a list."""

    data: list[Item]
    next: str | None = Field(description="the cursor of the next page; null when nothing more is there now")
    last: str = Field(description="a cursor that follows on from here, whether or not there is more now")


def time(micros: int) -> str:
    """Unix microseconds as the API shows them."""
    return to_text(micros)


def time_or_none(micros: int | None) -> str | None:
    return None if micros is None else to_text(micros)


def shown(text: bytes) -> tuple[str, bool]:
    """Bytes as text, and whether they were UTF-8; what is not is kept apart from the rest by U+FFFD."""
    try:
        return text.decode("utf-8"), True
    except UnicodeDecodeError:
        return text.decode("utf-8", "replace"), False


def masked(values: Mapping[str, str]) -> dict[str, str]:
    return dict.fromkeys(values, MASK)
