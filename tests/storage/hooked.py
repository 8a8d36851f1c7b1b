"""A database whose COMMIT can be held up, or made to fail, as often as a test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from receiver.storage.database import Database, Reader, Transaction


class Hooked:
    """`errors` are raised one after the other where COMMIT would begin; until `may_commit` is set none begins."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.at_commit = asyncio.Event()
        self.errors: list[Exception] = []
        self.commits = 0

    def reading(self) -> AbstractAsyncContextManager[Reader]:
        return self._database.reading()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Transaction]:
        async with self._database.writing() as transaction:
            yield transaction
            self.at_commit.set()
            await self.may_commit.wait()
            if self.errors:
                raise self.errors.pop(0)
        self.commits += 1

    async def close(self) -> None:
        await self._database.close()
