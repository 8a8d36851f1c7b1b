"""Where the database is, where vendors call, and what is listened on: which are taken and which are refused."""

from pathlib import Path

import pytest

from receiver.settings import load, masked
from tests.test_settings import problem


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///receiver.db", "receiver.db"),
        ("sqlite:///data/receiver.db", "data/receiver.db"),
        ("sqlite:////data/receiver.db", "/data/receiver.db"),
    ],
)
def test_a_database_url_names_a_file(url: str, path: str):
    assert load(None, {"RECEIVER_DATABASE_URL": url}).database_path == Path(path)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:////data/",
        "sqlite://host/receiver.db",
        "sqlite:///:memory:",
        "sqlite:///receiver.db?mode=ro",
        "sqlite:///receiver.db#x",
        "sqlite:///a\0b",
    ],
)
def test_a_sqlite_url_without_a_plain_file_is_refused(url: str):
    assert problem("RECEIVER_DATABASE_URL", url).startswith("must name a file and nothing else")


@pytest.mark.parametrize("url", ["", "receiver.db", "mysql://h/d", "sqlite:receiver.db", "SQLITE:///receiver.db"])
def test_a_database_of_another_kind_is_refused(url: str):
    assert problem("RECEIVER_DATABASE_URL", url).startswith("must be sqlite:///FILE")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:hunter2@h/d", "postgresql://u:********@h/d"),
        ("postgresql://u:hunter2@h:1,i:2/d", "postgresql://u:********@h:1,i:2/d"),
        ("postgres://h:5433/d?sslmode=require", "postgres://h:5433/d?sslmode=require"),
        (
            "postgresql://u@/d?host=/run/postgresql&password=hunter2",
            "postgresql://u@/d?host=/run/postgresql&password=********",
        ),
    ],
)
def test_a_database_of_many_is_named_without_its_password(url: str, shown: str):
    settings = load(None, {"RECEIVER_DATABASE_URL": url})
    assert settings.on_postgres
    assert settings.owners_socket is None
    assert settings.database_name == masked(settings)["RECEIVER_DATABASE_URL"] == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://u:hunter2@h/d",
        "postgresql:///d",
        "postgresql://h",
        "postgresql://h:port/d",
        "postgresql://h:1,:2/d",
    ],
)
def test_a_server_without_an_address_or_a_database_is_refused(url: str):
    assert problem("RECEIVER_DATABASE_URL", url).startswith("must name a server and a database")


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("https://sms.example.com", "https://sms.example.com"),
        ("https://sms.example.com/", "https://sms.example.com"),
        ("https://example.com/sms/in//", "https://example.com/sms/in"),
        ("http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080"),
        ("https://Example.com:443/%7Ea", "https://Example.com:443/%7Ea"),
    ],
)
def test_a_public_url_is_kept_but_for_its_last_slash(given_url: str, kept: str):
    settings = load(None, {"RECEIVER_PUBLIC_URL": given_url})
    assert settings.public_url == kept
    assert not settings.public_url_is_default


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sms.example.com",
        "ftp://example.com",
        "https://",
        "https:///in",
        "https://example.com/?a=1",
        "https://example.com/#a",
        "https://example.com/?",
        "https://user:hunter2@example.com",
        "https://example.com:0",
        "https://example.com:99999",
        "https://example.com:x",
        "https://[::1",
        "https://exa mple.com",
        "https://exämple.com",
        "https://example.com\\in",
        "https://example.com\r\nX: 1",
    ],
)
def test_a_public_url_that_vendors_could_not_call_is_refused(url: str):
    assert problem("RECEIVER_PUBLIC_URL", url).startswith("must be ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost", "sms-1.example.com"])
def test_a_host_is_an_address_or_a_name(host: str):
    assert load(None, {"RECEIVER_HOST": host}).host == host


@pytest.mark.parametrize("host", ["", "[::1]", "localhost:80", "a b", "-x", "http://x", "x" * 300])
def test_a_host_of_another_form_is_refused(host: str):
    assert problem("RECEIVER_HOST", host) == "must be an address or a host name, without port or brackets"
