"""Is the process alive, and is it ready for vendors and subscribers? No key needed.

Load balancers may ask by HEAD: the server leaves out the body of what GET says.
"""

from typing import Literal

from pydantic import BaseModel, Field

from receiver.api.context import Context
from receiver.api.inputs import Nothing
from receiver.api.operation import Answer, Call, Operation, Operations
from receiver.api.problem import Problem


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    status: Literal["ready"] = "ready"
    purge_behind_seconds: int = Field(
        description="for how long the oldest that is to be purged should have been gone; 0 where nothing waits for it"
    )


async def livez(_context: Context, _call: Call[Nothing, Nothing]) -> Answer:
    return Answer(body=Alive())


async def readyz(context: Context, _call: Call[Nothing, Nothing]) -> Answer:
    causes = context.causes()
    if causes:
        raise Problem("unavailable", "Not ready: see `causes`.", causes=causes)
    return Answer(body=Ready(purge_behind_seconds=context.purge_behind()))


OPERATIONS: Operations = (
    Operation(
        method="GET", path="/livez", summary="Whether the process is alive", scope=None, handler=livez,
        answers={200: Alive},
    ),
    Operation(
        method="GET", path="/readyz", summary="Whether it is ready; 503 names the causes", scope=None, handler=readyz,
        answers={200: Ready},
    ),
    Operation(
        method="HEAD", path="/livez", summary="The same by its status alone", scope=None, handler=livez,
        answers={200: None},
    ),
    Operation(
        method="HEAD", path="/readyz", summary="The same by its status alone", scope=None, handler=readyz,
        answers={200: None},
    ),
)  # fmt: skip
