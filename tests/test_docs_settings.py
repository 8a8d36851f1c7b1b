"""The page about the settings says what the model says, and its examples work."""

import re
from pathlib import Path

import pytest

from receiver.settings import PREFIX, Settings, load
from tests.rewrite_docs import BEGIN, END, SETTINGS, with_table

PAGE = SETTINGS.read_text("utf-8")


def test_the_table_is_that_of_the_model():
    assert with_table(PAGE) == PAGE, "docs/settings.md is out of date: make docs"


@pytest.mark.parametrize("mark", [BEGIN, END])
def test_the_page_has_each_mark_once(mark: str):
    assert PAGE.count(mark) == 1


def test_an_old_table_is_replaced_and_the_rest_is_kept():
    old = f"before\n{BEGIN}| old |\n{END}after\n"
    new = with_table(old)
    assert new.startswith(f"before\n{BEGIN}| name |")
    assert new.endswith(f"{END}after\n")
    assert "| old |" not in new


def test_every_name_on_the_page_is_a_setting():
    named = set(re.findall(rf"{PREFIX}[A-Z][A-Z_]*[A-Z]", PAGE)) - {"RECEIVER_URL", "RECEIVER_KEY", "RECEIVER_TEST"}
    assert {name.removeprefix(PREFIX).removesuffix("_FILE").lower() for name in named} <= set(Settings.model_fields)


def test_the_example_file_is_valid(tmp_path: Path):
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    secret, config = tmp_path / "key", tmp_path / "receiver.toml"
    secret.write_text("0123456789abcdef")
    config.write_text(example.replace("/run/secrets/receiver_api_key", str(secret)))
    assert load(config, {}).retry_schedule == (5, 60, 600)
