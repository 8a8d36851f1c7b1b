"""Wrong usage is exit code 2 and never a traceback; what a later release brings is no command yet."""

import re
import sqlite3
import sys
from contextlib import closing

import click
import httpx2
import pytest

from receiver import __version__
from receiver.cli import main, receiver
from receiver.cli.failure import Failure, told
from receiver.cli.options import credentials_of, options_of
from receiver.settings import BadSettings
from receiver.storage.database import CannotStart, Unavailable
from tests.cli.running import call, done, hook, program, refused


def every_command(command: click.Command = receiver, path: tuple[str, ...] = ()):
    yield path
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from every_command(inner, (*path, name))


@pytest.mark.parametrize("path", list(every_command()), ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]):
    assert f"Usage: {' '.join(('receiver', *path))} " in done(*path, "--help")


def test_the_commands_are_those_of_this_release():
    assert {" ".join(path) for path in every_command() if path} == {
        "serve", "demo", "migrate", "check", "settings", "trigger",
        "source", "source add", "source list", "source show", "source rotate", "source ask", "source remove",
        "subscription", "subscription add", "subscription list", "subscription test", "subscription pause",
        "subscription resume", "subscription recover", "subscription rotate", "subscription remove",
        "replay", "reparse", "import", "jobs", "jobs list", "jobs show", "jobs cancel",
        "events", "events list", "events show", "events tail", "events export", "listen", "campaign",
        "consumer", "consumer add", "consumer list", "consumer show", "consumer read", "consumer ack", "consumer seek",
        "consumer remove", "messages", "messages list", "messages show", "messages read", "messages delete", "batches",
        "deliveries", "deliveries list", "deliveries retry", "deliveries show",
        "optouts", "optouts list", "optouts show", "optouts add", "optouts remove", "optouts import", "optouts export",
        "keys", "keys create", "keys list", "keys revoke", "erase", "backup", "restore",
    }  # fmt: skip


LATER = ("dashboard",)


@pytest.mark.parametrize("command", LATER)
def test_what_comes_later_is_no_such_command(command: str):
    assert "No such command" in refused(*command.split(), code=2)


def test_everything_that_lists_or_shows_speaks_json():
    for path in every_command():
        if path and path[-1] in {"list", "show", "settings", "check", "trigger", "backup", "restore", "tail", "read"}:
            assert "--json" in done(*path, "--help"), path


def test_the_version_is_told():
    assert done("--version") == f"receiver {__version__}\n"


WRONG = [
    (("source", "list", "--url", "https://sms.example.com"), "go together"),
    (("source", "list", "--key", "key_x"), "go together"),
    (("source", "list", "--url", "sms.example.com", "--key", "key_x"), "http"),
    (("source", "list", "--url", "http://[", "--key", "key_x"), "http"),
    (("source", "list", "--limit", "0"), "--limit"),
    (("source", "list", "--limit", "501"), "--limit"),
    (("source", "add"), "VENDOR"),
    (("source", "add", "twilio", "--credential", "=x"), "name=value"),
    (("source", "add", "generic", "--option", "allow=[1"), "JSON"),
    (("source", "add", "generic", "--option", "basic=x", "--option", "basic.username=y"), "basic"),
    (("subscription", "add", "https://example.com", "--retry", "soon"), "30s"),
    (("keys", "create", "x", "--scope", "root"), "root"),
    (("events", "list", "--order", "random"), "random"),
    (("deliveries", "list", "--state", "lost"), "lost"),
    (("jobs", "list", "--state", "lost"), "lost"),
    (("replay",), "either"),
    (("listen",), "--forward-to"),
    (("listen", "--forward-to", "localhost:3000"), "http"),
    (("listen", "--forward-to", "http://localhost:3000", "--secret", "hush"), "whsec_"),
    (("events", "tail", "--last", "501"), "--last"),
    (("events", "export", "x", "--format", "xml"), "xml"),
    (("campaign", "x", "--since", "2026-11-20T14:47:03Z"), "--until"),
    (("consumer", "read", "x", "--wait", "31"), "--wait"),
    (("replay", "evt_1", "--since", "2026-11-20T14:47:03Z"), "either"),
    (("subscription", "recover", "sub_1", "--state", "lost"), "lost"),
    (("subscription", "add", "https://example.com", "--ordered", "message"), "message"),
    (("subscription", "add", "https://example.com", "--rate", "fast"), "fast"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...], said: str):
    assert said in refused(*arguments, code=2)


def test_a_credential_without_a_value_is_asked_for_and_not_echoed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("source", "add", "twilio", "--credential", "auth_token", "--json", input="a-secret-token\n")
    assert result.exit_code == 0
    assert result.stderr.startswith("auth_token: ")
    assert "a-secret-token" not in result.output


def test_a_credential_given_twice_has_two_values():
    assert credentials_of(["secret=one", "secret=t=w=o"]) == {"secret": ["one", "t=w=o"]}


def test_options_go_down_by_dots_and_stay_text_unless_they_say_json():
    assert options_of(["basic.username=12", "fields.to=null", 'allow=["::/0"]', "statuses.a.b=sent", "x.y.z=1"]) == {
        "basic": {"username": "12"},
        "fields": {"to": None},
        "allow": ["::/0"],
        "statuses": {"a.b": "sent"},
        "x": {"y": {"z": "1"}},
    }


def test_a_bug_is_one_line_without_what_it_says(monkeypatch, capsys):
    """An answer that no receiver gives makes one."""
    with hook() as it:
        it.body = b'{"secret": "value"}'
        monkeypatch.setattr(sys, "argv", ["receiver", "source", "list", "--url", it.url, "--key", "key_x"])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 1
    assert re.fullmatch(r"Error: KeyError at output\.py:\d+; a bug\n", capsys.readouterr().err)


def test_what_a_command_has_to_log_is_one_line_without_a_traceback(tmp_path):
    """Commands that do the work on the database themselves start no log of their own."""
    assert program(tmp_path, "subscription", "add", "https://example.com/hook").returncode == 0
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection, connection:
        connection.execute("UPDATE subscriptions SET format = 'of-the-future'")
    told = program(tmp_path, "subscription", "list").stderr.splitlines()
    assert len(told) == 2
    assert re.search(r"Z WARNING api\.unavailable method=GET exception=\"?CannotStart \(subscriptions\.py", told[0])
    assert told[1].startswith("Error: ")


def test_settings_are_shown_with_secrets_masked(monkeypatch):
    monkeypatch.setenv("RECEIVER_API_KEY", "sixteen-characters-and-more")
    shown = done("settings")
    assert re.search(r"^RECEIVER_API_KEY +\*+$", shown, re.MULTILINE)
    assert re.search(r"^RECEIVER_TRUSTED_PROXIES +–$", shown, re.MULTILINE)
    assert '"RECEIVER_PORT": "8080"' in done("settings", "--json")


@pytest.mark.parametrize(
    ("error", "lines", "code"),
    [
        (BadSettings(["RECEIVER_A: bad", "RECEIVER_B: worse"]), ["RECEIVER_A: bad", "RECEIVER_B: worse"], 3),
        (CannotStart("receiver.db: in the way"), ["receiver.db: in the way"], 3),
        (Unavailable("database is locked"), ["the database did not answer: database is locked"], 1),
        (httpx2.ReadTimeout(""), ["the receiver did not answer in time"], 1),
        (httpx2.ConnectError(""), ["the receiver cannot be reached: ConnectError"], 1),
        (httpx2.ConnectError("\x1b[31mno"), ["the receiver cannot be reached: \\u001b[31mno"], 1),
    ],
)
def test_whatever_fails_has_its_words_and_its_exit_code(error: Exception, lines: list[str], code: int):
    with pytest.raises(Failure) as failed, told():
        raise error
    assert [line.strip() for line in failed.value.format_message().splitlines()] == lines
    assert failed.value.exit_code == code
