"""The generated parts of docs/vendors.md and the README's table: all from VENDORS and the fixtures."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, get_args

import orjson

from receiver.fixtures import Fixture, Provenance, find, load_all
from receiver.vendors import VENDORS
from receiver.vendors.contract import Options, Vendor
from receiver.vendors.mapping_options import MappedOptions, OurName, Verdict
from tests.docs.markdown import code, table

URL = "https://sms.example.com/in/{vendor}/TOKEN"
_BASIS = {
    "documented": "from documents of the vendor",
    "captured": "from recorded requests",
    "assumed": "assumed: no document of the vendor describes the callback",
}
_OPTION = ("option", "value", "default", "meaning")
_CAPABILITIES = {
    "inbound": "inbound messages",
    "reports": "delivery reports",
    "opt_outs": "opt-outs",
    "handshake": "the proof of ownership",
    "poll": "asked for what is new",
    "lookup": "asked for one message",
}


def readme() -> str:
    rows = [
        (
            f"[{vendor.title}](docs/vendors.md#{vendor.name})",
            code(vendor.name),
            ", ".join(_CAPABILITIES[name] for name in vendor.capabilities),
            vendor.authentication,
            vendor.provenance if _has_documents(vendor) else "yours",
        )
        for vendor in VENDORS.values()
    ]
    return table(("vendor", "name", "understood", "authentication", "basis"), rows)


def common_options() -> str:
    return table(_OPTION, _option_rows(Options))


def mapped_options() -> str:
    return table(_OPTION, _option_rows(MappedOptions, Options))


def our_names() -> str:
    return code(*get_args(OurName)) + "\n"


def declared_example() -> str:
    """A recorded request of the made-up vendor and the options that read it."""
    fixture = find("generic.message")
    body = orjson.loads(fixture.raw.partition(b"\r\n\r\n")[2])
    return "\n".join(
        [
            "```json\n" + _pretty(body) + "```\n",
            "is read by\n",
            "```json\n" + _pretty({"options": fixture.expected.options}) + "```\n",
        ]
    )


def _pretty(document: object) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def vendors() -> str:
    return "\n".join(_section(vendor) for vendor in VENDORS.values())


def _section(vendor: Vendor) -> str:
    parts = [f"## {vendor.name}\n", _about(vendor)]
    parts += _titled("Credentials", ("credential", "", "what it is"), _credential_rows(vendor))
    base = MappedOptions if issubclass(vendor.options, MappedOptions) else Options
    parts += _titled("Options of its own", _OPTION, _option_rows(vendor.options, base))
    parts.append(_setup(vendor))
    parts += _asked(vendor)
    if issubclass(vendor.options, MappedOptions):
        parts += _defaults(vendor.options)
    parts.append(_cases(vendor))
    return "\n".join(parts)


def _has_documents(vendor: Vendor) -> bool:
    return vendor.docs.startswith("http")


def _about(vendor: Vendor) -> str:
    docs = f"Its documents: <{vendor.docs}>" if _has_documents(vendor) else "Described above"
    basis = _BASIS[vendor.provenance] if _has_documents(vendor) else "what the source declares"
    lines = [
        f"**{vendor.title}.** {docs}.\n",
        f"- Understood: {', '.join(_CAPABILITIES[name] for name in vendor.capabilities)}.",
        f"- Methods: {code(*vendor.methods)}.",
        f"- Authentication: {vendor.authentication}.",
        f"- Answers: {_answers(vendor)}.",
        f"- Basis: {basis}.",
    ]
    if vendor.signs_url:
        lines.append("- It signs the URL that it calls: `RECEIVER_PUBLIC_URL` must be the one that it knows.")
    if issubclass(vendor.options, MappedOptions) and _has_documents(vendor):
        lines.append("- Read by declaration: its names and words below are defaults, and the source may change them.")
    if vendor.assumed:
        lines.append(f"- Assumed: {vendor.assumed}.")
    return "\n".join(lines) + "\n"


def _answers(vendor: Vendor) -> str:
    given = [fixture.expected.answer for fixture in load_all() if fixture.vendor == vendor.name]
    said = [
        f"{answer.status} with `{answer.content_type}`: `{answer.body}`" if answer.body else f"{answer.status}, empty"
        for answer in given
    ]
    return "; ".join(sorted(set(said), key=said.index))


def _titled(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    found = list(rows)
    return [f"**{title}**\n", table(header, found)] if found else []


def _credential_rows(vendor: Vendor) -> Iterable[Sequence[str]]:
    for name, credential in vendor.credentials.items():
        yield code(name), "required" if credential.required else "optional", credential.help


def _option_rows(options: type[Options], base: type[Options] | None = None) -> Iterable[Sequence[str]]:
    """The options that `base` lacks or has another default for."""
    described, known = _properties(options), _properties(base) if base else {}
    for name, schema in described.items():
        if name in known and schema.get("default") == known[name].get("default"):
            continue
        default = schema.get("default")
        shown = code(str(default).lower()) if default not in (None, [], {}) else "–"
        meaning = schema.get("description") or known.get(name, {}).get("description", "")
        yield code(name), _value(schema), shown, meaning
        yield from _inner_rows(name, schema, options.model_json_schema().get("$defs", {}))


def _inner_rows(
    outer: str, schema: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]
) -> Iterable[Sequence[str]]:
    """The options inside an option that is an object of its own."""
    model = _chosen(schema).get("$ref", "").rpartition("/")[2]
    if model in ("", "Basic"):
        return
    for name, inner in models[model]["properties"].items():
        default = inner.get("default")
        words = ", ".join(default) if isinstance(default, list) else str(default).lower()
        shown = code(words) if default not in (None, [], {}) else "–"
        yield code(f"{outer}.{name}"), _value(inner), shown, inner["description"]


def _properties(options: type[Options]) -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = options.model_json_schema()["properties"]
    return found


def _chosen(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    found: Mapping[str, Any] = choices[0]
    return found


def _value(schema: Mapping[str, Any]) -> str:
    chosen = _chosen(schema)
    if "$ref" in chosen:
        return "object of `username` and `password`" if chosen["$ref"].endswith("Basic") else "object"
    kinds = {
        "array": "list",
        "integer": "whole number",
        "string": "text",
        "boolean": "true or false",
        "object": "object",
    }
    return kinds[chosen["type"]]


def _setup(vendor: Vendor) -> str:
    given = vendor.setup(URL.format(vendor=vendor.name), vendor.options())
    rows = [(code(name), code(value)) for name, value in given.items()]
    return "**What to paste where** (`setup` of the source)\n\n" + table(("there", "this"), rows)


def _asked(vendor: Vendor) -> Iterable[str]:
    poll = vendor.poll
    if poll is None:
        return
    yield (
        f"**Asking it** (off until the source has `options.poll`)\n\nAt {code(poll.base_url)}, {poll.per_minute} questions "
        f"a minute at most. Before: {poll.help}.\n"
    )
    rows = [(code(name), feed.title) for name, feed in poll.feeds.items()]
    if poll.lookup is not None:
        rows.append((code("lookup"), "the state of one outbound message, where its final report does not come"))
    yield table(("feed", "what it gives"), rows)


def _defaults(options: type[MappedOptions]) -> Iterable[str]:
    defaults = options()
    names = [(code(ours), code(*theirs)) for ours, theirs in defaults.names.items()]
    yield from _titled("Its names", ("our name", "its names, tried in order"), names)
    words = [(code(word), *_verdict(verdict)) for word, verdict in defaults.verdicts.items()]
    yield from _titled("Its status words", ("its word", "status", "final", "reason"), words)


def _verdict(verdict: Verdict) -> Sequence[str]:
    status, final, reason = verdict
    return code(status), "yes" if final else "no", code(reason) if reason else "–"


def _cases(vendor: Vendor) -> str:
    """Every recorded request, and below them, once each, the documents they come from."""
    mine = [fixture for fixture in load_all() if fixture.vendor == vendor.name]
    rows = [_case(fixture) for fixture in mine]
    where = f"**Recorded requests**, in `fixtures/{vendor.name}`\n\n"
    return where + table(("case", "what", "becomes", "basis"), rows) + "\n" + _documents(mine)


def _case(fixture: Fixture) -> Sequence[str]:
    expected = fixture.expected
    kinds = [(name, len(list(group))) for name, group in groupby(expected.events, key=lambda event: event["type"])]
    events = ", ".join(f"`{name}`" + (f" × {count}" if count > 1 else "") for name, count in kinds)
    becomes = events or expected.outcome
    return code(fixture.case), expected.title, becomes, expected.provenance.kind


def _documents(fixtures: Sequence[Fixture]) -> str:
    found: dict[str, list[str]] = {}
    for fixture in fixtures:
        found.setdefault(_said(fixture.expected.provenance), []).append(fixture.case)
    lines = [f"- {said}: {code(*cases)}" for said, cases in found.items()]
    return "Where they come from:\n\n" + "\n".join(lines) + "\n"


def _said(provenance: Provenance) -> str:
    source = provenance.source
    if source.startswith("http") and " " not in source:
        source = f"<{source}>"
    elif source.startswith("docs/vendors.md#"):
        source = "this page"
    return f"{provenance.kind}, {source}" + (f" ({provenance.note})" if provenance.note else "")


PARTS: Mapping[str, Callable[[], str]] = {
    "common-options": common_options,
    "mapped-options": mapped_options,
    "our-names": our_names,
    "declared-example": declared_example,
    "vendors": vendors,
}
README: Mapping[str, Callable[[], str]] = {"vendors": readme}
