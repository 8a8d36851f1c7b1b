"""/openapi.json: what it says is what the API does."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from receiver import __version__
from receiver.api import OPERATIONS
from receiver.api.openapi import document
from receiver.sms.events import EVENT_MODELS
from tests.api.running import PUBLIC_URL, running_api

DOCUMENT = document(OPERATIONS, PUBLIC_URL)


async def test_the_document_is_served_without_a_key(tmp_path: Path):
    async with running_api(tmp_path) as api:
        answer = await api.ask("GET", "/openapi.json")
        served = answer.json()
        assert served["openapi"].startswith("3.1.")
        assert served["info"]["version"] == __version__
        assert served["servers"] == [{"url": PUBLIC_URL}]
        assert served["paths"].keys() - DOCUMENT["paths"].keys() == {"/openapi.json"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda item: f"{item.method} {item.path}")
def test_every_operation_is_described_with_its_scope_and_its_problems(operation):
    described = DOCUMENT["paths"][operation.path][operation.method.lower()]
    assert described["summary"]
    assert described["security"] == ([{"key": [operation.scope]}] if operation.scope else [])
    statuses = set(described["responses"])
    assert {str(status) for status in operation.answers} <= statuses
    assert {"422", "503"} <= statuses
    assert ({"401", "403"} <= statuses) == (operation.scope is not None)
    assert ("404" in statuses) == ("{" in operation.path)
    assert ("requestBody" in described) <= (operation.method in ("POST", "PUT", "PATCH"))


def test_operation_ids_are_unique():
    found = [item["operationId"] for path in DOCUMENT["paths"].values() for item in path.values()]
    assert len(set(found)) == len(found) == len(OPERATIONS)


def test_every_reference_leads_somewhere():
    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            yield from (ref for value in node.values() for ref in walk(value))
        elif isinstance(node, list):
            yield from (ref for value in node for ref in walk(value))

    references = set(walk(DOCUMENT))
    assert len(references) > 30
    for reference in references:
        here = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            here = here[step]


def test_every_schema_is_a_valid_json_schema_of_2020_12():
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def test_webhooks_are_the_event_models():
    assert list(DOCUMENT["webhooks"]) == list(EVENT_MODELS)
    for name, model in EVENT_MODELS.items():
        content = DOCUMENT["webhooks"][name]["post"]["requestBody"]["content"]
        assert content["application/json"]["schema"] == {"$ref": f"#/components/schemas/{model.__name__}"}


def test_events_may_grow_and_bodies_may_not():
    schemas = DOCUMENT["components"]["schemas"]
    assert "additionalProperties" not in schemas["MessageReceived"]
    assert "additionalProperties" not in schemas["MessageReceivedEvent"]
    for name in ("SourceBody", "SubscriptionBody", "SubscriptionChange", "KeyBody", "Filter"):
        assert schemas[name]["additionalProperties"] is False


def test_the_document_says_where_null_is_no_value():
    change = DOCUMENT["components"]["schemas"]["SubscriptionChange"]["properties"]
    assert change["url"]["type"] == "string"
    assert "default" not in change["url"]
    assert {"type": "null"} in change["description"]["anyOf"]
    parameters = {item["name"]: item for item in DOCUMENT["paths"]["/v1/events"]["get"]["parameters"]}
    assert parameters["limit"]["schema"] == {"default": 50, "maximum": 500, "minimum": 1, "type": "integer"}
    assert parameters["since"]["schema"]["format"] == "date-time"
    assert parameters["from"]["schema"]["type"] == "string"
