"""The line to one source's vendor: questions at the pace that it takes, with a token where it wants one."""

from collections.abc import Callable
from dataclasses import replace

from receiver.delivery.retry import parse_retry_after
from receiver.intake.asking import Asking
from receiver.observe import log
from receiver.sms.timestamps import SECOND
from receiver.storage import polls
from receiver.vendors.contract import Grant, NotAnswered, Poll, Question, Reply, Source, Tokens
from receiver.vendors.polling import PollOptions

MAX_RETRY_AFTER = 86_400.0
_EARLY = 60 * SECOND
"""A token is renewed that long before its end."""

Make = Callable[[str | None], Question]
"""A question with the token of the moment."""


class Line:
    def __init__(self, source: Source, poll: Poll, options: PollOptions, asking: Asking) -> None:
        self._source = source
        self._grant = poll.grant if poll.grant and poll.grant.wanted(source) else None
        self._asking = asking
        self._interval = 60.0 / (options.per_minute or poll.per_minute)
        self._free_at: float | None = None
        self._tokens: Tokens | None = None
        self.base_url = options.base_url or poll.base_url
        self.retry_after = 0.0
        """Seconds that the last reply asked to be left alone for."""

    def wait(self, last_asked_at: int) -> float:
        """Seconds until the vendor takes another question; its pace outlives a restart."""
        if self._free_at is None:
            since = (self._asking.clock() - last_asked_at) / SECOND
            self._free_at = self._asking.monotonic() + min(max(self._interval - since, 0.0), self._interval)
        return self._free_at - self._asking.monotonic()

    def rest(self, seconds: float) -> None:
        """The vendor is left alone for so long."""
        self._free_at = max(self._free_at or 0.0, self._asking.monotonic() + seconds)

    async def ask(self, make: Make) -> tuple[Question, Reply]:
        """One question and its reply, whatever its status; a refused token is renewed once. Raises NotAnswered."""
        grant = self._grant
        if grant is None:
            return await self._send(make(None))
        tokens = await self._current(grant)
        question, reply = await self._send(make(tokens.access))
        if reply.status != 401:
            return question, reply
        return await self._send(make((await self._renewed(grant, tokens.refresh)).access))

    async def _send(self, question: Question) -> tuple[Question, Reply]:
        if self._free_at is not None and (wait := self._free_at - self._asking.monotonic()) > 0:
            await self._asking.sleep(wait)
        self._free_at, self.retry_after = self._asking.monotonic() + self._interval, 0.0
        reply = await self._asking.send(self.base_url, question)
        wish = next((value for name, value in reply.headers if name == b"retry-after"), None)
        seconds = None if wish is None else parse_retry_after(wish.decode("latin-1"), self._asking.clock() / SECOND)
        self.retry_after = min(seconds or 0.0, MAX_RETRY_AFTER)
        return question, reply

    async def _current(self, grant: Grant) -> Tokens:
        if self._tokens is None:
            async with self._asking.database.reading() as reader:
                self._tokens = await polls.tokens(reader, self._source)
        known = self._tokens
        if known is not None and known.expires_at - _EARLY > self._asking.clock():
            return known
        return await self._renewed(grant, known.refresh if known else None)

    async def _renewed(self, grant: Grant, refresh: str | None) -> Tokens:
        """New tokens, on disk before they are used: the old refresh token may be worth nothing from now on."""
        try:
            tokens = await self._given(grant, refresh)
        except NotAnswered as trouble:
            if refresh is None or trouble.kind != "credentials":
                raise
            tokens = await self._given(grant, None)
        now = self._asking.clock()
        await self._asking.write(lambda transaction: polls.save_tokens(transaction, self._source, tokens, now))
        log("poll.token_renewed", source_id=self._source.id)
        self._tokens = tokens
        return tokens

    async def _given(self, grant: Grant, refresh: str | None) -> Tokens:
        """A grant that gives no new refresh token leaves the one that it was got with (RFC 6749 section 6)."""
        _, reply = await self._send(grant.ask(self._source, refresh))
        given = grant.read(reply, self._asking.clock())
        return replace(given, refresh=given.refresh or refresh)
