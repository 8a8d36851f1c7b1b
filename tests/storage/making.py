"""Rows as they are stored, with only what a test is about spelled out."""

from collections.abc import Sequence
from typing import Any

from receiver.sms.matching import Filter
from receiver.storage import sources, subscriptions
from receiver.storage.sources import SourceRow
from receiver.storage.subscriptions import Secret, Subscription

MOMENT = 1_700_000_000_000_000


def a_subscription(identifier: str = "sub_1", types: Sequence[str] = ("*",), **given: Any) -> Subscription:
    made: dict[str, Any] = {
        "url": "https://subscriber.example.com/hook", "filter": None, "format": "standard",
        "secrets": [Secret("whsec_AAAA")], "max_concurrency": 4, "retry_schedule": None, "state": "active",
        "description": None, "created_at": MOMENT, "updated_at": MOMENT,
    }  # fmt: skip
    wanted = given.pop("filter", None)
    return Subscription(
        id=identifier, types=types, **made | {"filter": Filter.model_validate(wanted) if wanted else None} | given
    )


def a_source(identifier: str = "src_1", token: str = "token-1", **given: Any) -> SourceRow:
    made: dict[str, Any] = {
        "vendor": "generic", "name": "ours", "credentials": {}, "options": {}, "created_at": MOMENT,
        "updated_at": MOMENT,
    }  # fmt: skip
    return SourceRow(id=identifier, token=token, **made | given)


async def saved(database: Any, *items: Subscription | SourceRow) -> None:
    """In one transaction of its own, as another process would do it."""
    async with database.writing() as transaction:
        for item in items:
            if isinstance(item, Subscription):
                await subscriptions.save(transaction, item)
            else:
                await sources.save(transaction, item)
