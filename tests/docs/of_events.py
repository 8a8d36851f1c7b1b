"""The generated parts of docs/events.md: types, fields and words from the models, examples from the fixtures.

Of what no request causes, the examples are made from the figures below.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel

from receiver.fixtures import find
from receiver.sms.events import (
    EVENT_MODELS,
    FLAG_MEANINGS,
    FLAGS,
    REASON_MEANINGS,
    REASONS,
    STATUS_MEANINGS,
    STATUSES,
    TYPE_MEANINGS,
    Address,
    Binary,
    ContactChanged,
    IncompletePart,
    Media,
    MessageReceived,
    MessageReceivedEvent,
    MessageStatus,
    Network,
    Price,
    ReceiptQuarantined,
    ReportPart,
    SubscriptionDisabled,
    SubscriptionHealth,
    TestPing,
)
from tests.docs.markdown import anchor, code, fenced, table

_PLAIN = {"string": "text", "integer": "whole number", "boolean": "true or false", "object": "object", "null": "null"}
_VOCABULARIES: Sequence[tuple[Sequence[object], str]] = (
    (list(STATUSES), "[status](#statuses)"),
    (list(REASONS), "[reason](#reasons)"),
    ([list(FLAGS)], "list of [flags](#flags)"),
)
_ENVELOPE = ("id", "type", "timestamp", "supersedes", "data")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# In the place of the ids that an expectation leaves out.
_IDS = {
    "message_id": "msg_01k5z2v0c3x9q8w7e6r5t4y3u2",
    "source_id": "src_01k5z2v0c3x9q8w7e6r5t4y3u0",
    "receipt_id": "rcp_01k5z2v0c3x9q8w7e6r5t4y3u1",
}
_FAILING = {
    "subscription_id": "sub_01k5z2v0c3x9q8w7e6r5t4y3u7",
    "host": "hooks.example.com",
    "failures": 10,
    "since": "2026-11-20T14:41:18.020Z",
    "last_error": "timeout",
    "last_status": None,
}
_DISABLED = _FAILING | {
    "failures": 1873,
    "since": "2026-11-15T14:58:40.512Z",
    "last_error": "status",
    "last_status": 500,
    "because": "failures",
}
_RECOVERED = _FAILING | {"failures": 37}


def types() -> str:
    rows = []
    for name, meaning in TYPE_MEANINGS.items():
        said = f"[`{name}`](#{anchor(_data_of(name))})" if name in EVENT_MODELS else f"`{name}`"
        rows.append((said, meaning if name in EVENT_MODELS else f"{meaning} (a later release)"))
    return table(("type", "when"), rows)


def statuses() -> str:
    rows = [(code(word), final, meaning) for word, (final, meaning) in STATUS_MEANINGS.items()]
    return table(("status", "usually final", "meaning"), rows)


def reasons() -> str:
    return table(("reason", "meaning"), [(code(word), meaning) for word, meaning in REASON_MEANINGS.items()])


def flags() -> str:
    return table(("flag", "meaning"), [(code(word), meaning) for word, meaning in FLAG_MEANINGS.items()])


def envelope() -> str:
    return _fields(MessageReceivedEvent, _ENVELOPE)


def data(*models: type[BaseModel]) -> Callable[[], str]:
    return lambda: "\n".join(
        f"{_heading(model)}{_fields(model)}" if len(models) > 1 else _fields(model) for model in models
    )


def example(fixture: str, event: int = 0) -> Callable[[], str]:
    """An event of a fixture with ids as they look, in the order of the model."""

    def made() -> str:
        expected = find(fixture).expected.events[event]
        model = EVENT_MODELS[expected["type"]]
        given = {"id": "evt_01k5z2v0c3x9q8w7e6r5t4y3u5", **expected}
        known = model.model_fields["data"].annotation
        assert isinstance(known, type)
        assert issubclass(known, BaseModel)
        given["data"] = {name: given["data"].get(name, _IDS.get(name)) for name in _names(known)}
        return _shown(given)

    return made


def operational(name: str, data: Mapping[str, Any]) -> Callable[[], str]:
    """An event that no request causes."""
    event = {"id": "evt_01k5z2v0c3x9q8w7e6r5t4y3u6", "type": name, "timestamp": "2026-11-20T15:02:51.377Z"}
    return lambda: _shown({**event, "supersedes": None, "data": data})


def _shown(event: Mapping[str, Any]) -> str:
    shown = EVENT_MODELS[event["type"]].model_validate(event).model_dump(by_alias=True)
    ordered = {name: shown[name] for name in _ENVELOPE}
    return fenced("json", orjson.dumps(ordered, option=orjson.OPT_INDENT_2).decode())


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _heading(model: type[BaseModel]) -> str:
    return f"### {model.__name__}\n\n"


def _data_of(name: str) -> str:
    return f"Data of {name}" if not name.startswith("contact.") else "Data of contact.opted_out and contact.opted_in"


def _fields(model: type[BaseModel], order: Sequence[str] = ()) -> str:
    described = model.model_json_schema(mode="serialization")["properties"]
    rows = [(code(name), _type(described[name]), _meaning(described[name])) for name in order or described]
    return table(("field", "type", "meaning"), rows)


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(name)})" if name in _OBJECTS else "object, by type"
    words = schema.get("examples", [""])
    for known, linked in _VOCABULARIES:
        if words == known:
            return linked
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if _TIME.fullmatch(str(words[0])):
        return "time"
    return _PLAIN[schema["type"]]


def _meaning(schema: Mapping[str, Any]) -> str:
    said: str = schema.get("description", "")
    if "const" in schema:
        return f"{code(schema['const'])}, or another of the types"
    words = schema.get("examples", [])
    if 1 < len(words) < 6 and all(isinstance(word, str) for word in words):
        said += f" ({code(*words)})"
    return said


OBJECTS = (Address, Media, Binary, IncompletePart, ReportPart, Price, Network)
_OBJECTS = {model.__name__ for model in OBJECTS}

PARTS: Mapping[str, Callable[[], str]] = {
    "types": types,
    "envelope": envelope,
    "message-received": data(MessageReceived),
    "message-status": data(MessageStatus),
    "contact": data(ContactChanged),
    "quarantined": data(ReceiptQuarantined),
    "failing": data(SubscriptionHealth),
    "disabled": data(SubscriptionDisabled),
    "recovered": data(SubscriptionHealth),
    "ping": data(TestPing),
    "objects": data(*OBJECTS),
    "statuses": statuses,
    "reasons": reasons,
    "flags": flags,
    "example-received": example("twilio.inbound-sms"),
    "example-status": example("mobtexting.report-switched-off"),
    "example-contact": example("twilio.inbound-stop", 1),
    "example-quarantined": example("thesmsworks.quarantined-no-content"),
    "example-failing": operational("subscription.failing", _FAILING),
    "example-disabled": operational("subscription.disabled", _DISABLED),
    "example-recovered": operational("subscription.recovered", _RECOVERED),
}
