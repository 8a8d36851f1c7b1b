"""Access tokens as OAuth 2.0 gives them (RFC 6749): the question for one, and what the answer says."""

from typing import Final
from urllib.parse import urlencode

from receiver.vendors.contract import BadPayload, NotAnswered, Question, Reply, Tokens
from receiver.vendors.polling import document, unread

UNTOLD_SECONDS: Final = 3_600
"""How long a token is taken to last when its answer does not say (`expires_in` is only recommended, section 5.1)."""


def token_question(path: str, *form: tuple[str, str]) -> Question:
    """A token endpoint takes a form by POST (section 3.2)."""
    headers = (("content-type", "application/x-www-form-urlencoded"),)
    return Question(method="POST", path=path, about={"feed": "token"}, headers=headers, body=urlencode(form).encode())


def read_tokens(reply: Reply, now: int) -> Tokens:
    """A successful answer (section 5.1); a 400 is a grant that is not, or no longer, good (section 5.2)."""
    if reply.status == 400:
        raise NotAnswered("credentials", "the vendor refuses client or refresh token (HTTP 400)")
    answer = document(reply)
    try:
        access, refresh = answer.require("access_token"), answer.text("refresh_token")
        seconds, told = answer.integer("expires_in"), answer.text("expires_in")
    except BadPayload:
        raise unread("access_token, refresh_token or expires_in") from None
    if told is not None and seconds is None:
        raise unread("expires_in")
    lasts = UNTOLD_SECONDS if seconds is None else max(seconds, 0)
    return Tokens(access=access, refresh=refresh, expires_at=now + lasts * 1_000_000)
