"""How each engine keeps the words of texts and is asked for them: SQLite's FTS5, PostgreSQL's tsvector with GIN.

A row is the place of a `message.received` in the log and the words of its text. What an index gives are candidates:
`receiver.sms.words.holds` has the last word, so that all engines find the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from receiver.sms.words import Term

_MOST_KEYS = 24
"""Of a query that an index is asked for; the rest is seen by `holds`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextIndex:
    """`seq` is the column of the log's position, `matches` a condition with one placeholder for what `asked` gives;
    `insert` and `remove` stand before rows of (seq, `kept` of its words), `removed` behind those of `remove`. `loose`
    says whether many candidates may turn out not to be meant. `joined` is the position's column in the log, where the
    engine has to be told that what bounds the one bounds the other: else it may go through the whole log. `merge` does
    what its first placeholder says, as much as its second: after `begin`, so many pages are rewritten, a first time
    with a minus, until `changes` grows by less than two. Empty where the engine needs no such thing to let go of what
    was removed.
    """

    seq: LiteralString
    matches: LiteralString
    insert: LiteralString
    remove: LiteralString
    removed: LiteralString
    kept: Callable[[Sequence[str]], str]
    asked: Callable[[Sequence[Term]], str]
    loose: Callable[[Sequence[Term]], bool]
    merge: LiteralString = ""
    begin: tuple[str, int] = ("", 0)
    changes: LiteralString = ""
    joined: LiteralString = ""


def _keys(terms: Sequence[Term]) -> Sequence[tuple[str, bool]]:
    return [key for term in terms for key in term.keys][:_MOST_KEYS]


_BEGINNING = 3
"""Characters that the index of beginnings has at most (`prefix` in its migration)."""


def _fts5(terms: Sequence[Term]) -> str:
    """https://www.sqlite.org/fts5.html#full_text_query_syntax"""
    return " AND ".join(f'"{key[:_BEGINNING]}" *' if prefix else f'"{key}"' for key, prefix in _keys(terms))


def _cut(terms: Sequence[Term]) -> bool:
    return any(prefix and len(key) > _BEGINNING for key, prefix in _keys(terms))


def _tsquery(terms: Sequence[Term]) -> str:
    """https://www.postgresql.org/docs/current/datatype-textsearch.html"""
    return " & ".join(f"'{key}':*" if prefix else f"'{key}'" for key, prefix in _keys(terms))


SQLITE: Final = TextIndex(
    seq="texts.rowid",
    matches="texts MATCH ?",
    insert="INSERT INTO texts (rowid, words)",
    remove="WITH gone (seq, words) AS (",
    removed=") INSERT INTO texts (texts, rowid, words) SELECT 'delete', seq, words FROM gone",
    kept=" ".join,
    asked=_fts5,
    loose=_cut,
    # https://www.sqlite.org/fts5.html#the_merge_command. Its `secure-delete` is of 3.42 and later, and makes an index
    # that earlier ones cannot read.
    merge="INSERT INTO texts (texts, rank) VALUES (?, ?)",
    begin=("usermerge", 2),  # else the merge starves while as many new segments come as it has old ones
    changes="SELECT total_changes()",
)
POSTGRES: Final = TextIndex(
    seq="texts.seq",
    matches="texts.words @@ CAST(? AS tsquery)",
    insert="INSERT INTO texts (seq, words)",
    remove="WITH gone (seq, words) AS (",
    removed=") DELETE FROM texts USING gone WHERE texts.seq = gone.seq",
    kept=lambda words: " ".join(f"'{word}'" for word in words),
    asked=_tsquery,
    loose=lambda _terms: False,
    joined="events.seq",
)
