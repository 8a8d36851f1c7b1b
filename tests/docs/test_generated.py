"""What is generated in the docs is what the code says now."""

import re
from pathlib import Path

import pytest

from receiver.fixtures import load_all
from receiver.sms.events import EVENT_MODELS
from receiver.vendors import VENDORS
from tests.docs import of_events
from tests.docs.markdown import DOCS, PAGES, ROOT, blocks, filled, parts_of
from tests.rewrite_docs import GENERATED


def text(page: Path) -> str:
    return page.read_text("utf-8")


@pytest.mark.parametrize("page", GENERATED, ids=lambda page: page.name)
def test_the_generated_parts_are_up_to_date(page: Path):
    assert filled(text(page), GENERATED[page]) == text(page), f"{page.name} is out of date: make docs"


@pytest.mark.parametrize("page", GENERATED, ids=lambda page: page.name)
def test_every_part_has_its_place_once(page: Path):
    assert sorted(parts_of(text(page))) == sorted(GENERATED[page])


def test_no_other_page_claims_to_be_generated():
    assert [page.name for page in PAGES if page not in GENERATED and parts_of(text(page))] == []


def test_an_old_part_is_replaced_and_the_rest_is_kept():
    old = "before\n<!-- generated: it (make docs) -->\n\nold\n\n<!-- end -->\nafter\n"
    new = filled(old, {"it": lambda: "new\n"})
    assert new == "before\n<!-- generated: it (make docs) -->\n\nnew\n\n<!-- end -->\nafter\n"


def test_a_mark_without_its_part_is_an_error():
    with pytest.raises(KeyError):
        filled("<!-- generated: nothing (make docs) -->\n<!-- end -->\n", {})


def test_every_field_of_the_contract_has_a_type_and_a_meaning():
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \|$", text(DOCS / "events.md"), re.MULTILINE)
    fields = {field.alias or name for model in EVENT_MODELS.values() for name, field in model.model_fields.items()}
    assert fields <= {name for name, _, _ in rows}
    assert [name for name, kind, meaning in rows if name != "data" and not (kind.strip() and meaning.strip())] == []


def test_every_example_of_the_contract_is_an_event():
    examples = blocks(text(DOCS / "events.md"), "json")
    assert len(examples) == sum(name.startswith("example-") for name in of_events.PARTS)
    for example in examples:
        (kind,) = re.findall(r'^  "type": "([\w.]+)"', example.text, re.MULTILINE)
        EVENT_MODELS[kind].model_validate_json(example.text)


def test_every_vendor_and_every_recorded_request_is_on_its_page():
    page = text(DOCS / "vendors.md")
    sections = {section.partition("\n")[0]: section for section in page.split("\n## ")[1:]}
    for name, vendor in VENDORS.items():
        assert vendor.title in sections[name]
        assert vendor.assumed in sections[name]
    for fixture in load_all():
        assert f"| `{fixture.case}` | {fixture.expected.title} |" in sections[fixture.vendor]


def test_the_target_that_generates_is_the_one_that_the_marks_name():
    assert "tests.rewrite_docs" in (ROOT / "Makefile").read_text("utf-8").partition("\ndocs:")[2].partition("\n\n")[0]
