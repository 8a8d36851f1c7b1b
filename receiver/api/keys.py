"""API keys: made here and shown once, kept as hashes, revoked for good."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from receiver.api.auth import Scope, make_key
from receiver.api.context import Context
from receiver.api.cursor import position_of, turn
from receiver.api.inputs import Input, Nothing, Paged, Text
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem
from receiver.api.shapes import Page, Time, time, time_or_none
from receiver.storage import keys

_LIST = "keys"


def _distinct(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("each scope once")
    return scopes


class KeyBody(Input):
    name: Annotated[Text, Field(min_length=1, max_length=200)]
    scopes: Annotated[
        list[Scope],
        Field(min_length=1, max_length=3, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_distinct),
    ] = Field(description="`write` may also read, `admin` may do everything")


class Key(BaseModel):
    id: str = Field(examples=["key_01k5z2v0c3x9q8w7e6r5t4y3u2"])
    name: str
    scopes: list[str]
    created_at: Time
    revoked_at: Time | None


class NewKey(Key):
    key: str = Field(description="the key itself, shown this once")


class KeyPage(Page[Key]):
    pass


async def create(context: Context, call: Call[Nothing, KeyBody]) -> Answer:
    key = make_key(context.entropy)
    row = keys.Key(
        id=context.ids.new("key"), name=call.body.name, scopes=tuple(call.body.scopes), created_at=context.clock()
    )
    await context.write(lambda transaction: keys.insert(transaction, row, key))
    return Answer(status=201, body=NewKey(**_shown(row).model_dump(), key=key))


async def listed(context: Context, call: Call[Paged, Nothing]) -> Answer:
    before = position_of(call.query, _LIST, "key")
    async with context.database.reading() as reader:
        found = await keys.page(reader, before=before, limit=call.query.limit + 1)
    page = turn(call.query, _LIST, found, lambda row: row.id)
    return Answer(body=KeyPage(data=[_shown(row) for row in page.rows], next=page.next, last=page.last), next=page.next)


async def revoke(context: Context, call: Call[Nothing, Nothing]) -> Answer:
    now = context.clock()
    if not await context.write(lambda transaction: keys.revoke(transaction, call.id, now)):
        raise Problem("not_found")
    return Answer(status=204)


def _shown(row: keys.Key) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        scopes=list(row.scopes),
        created_at=time(row.created_at),
        revoked_at=time_or_none(row.revoked_at),
    )


OPERATIONS: Operations = (
    Operation(
        method="POST", path="/v1/keys", summary="Make an API key", scope="admin", handler=create, body=KeyBody,
        answers={201: NewKey},
    ),
    Operation(
        method="GET", path="/v1/keys", summary="List API keys, revoked ones too", scope="admin", handler=listed,
        query=Paged, answers={200: KeyPage},
    ),
    Operation(
        method="DELETE", path="/v1/keys/{id}", summary="Revoke an API key", scope="admin", handler=revoke,
        answers={204: None},
    ),
)  # fmt: skip
