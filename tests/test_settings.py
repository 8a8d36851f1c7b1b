"""Every knob: defaults, where values come from, which are refused, and that a secret is never shown."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from receiver import settings as module
from receiver.settings import ANYWHERE, FROM_FILE, BadSettings, Settings, load, masked, seconds

KEY = "0123456789abcdef-secret"


def problems(environ: dict[str, str], config: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(BadSettings) as caught:
        load(config, environ)
    return caught.value.problems


def problem(name: str, value: str) -> str:
    (only,) = problems({name: value})
    assert only.startswith(f"{name}: ")
    return only.removeprefix(f"{name}: ")


def test_without_anything_the_documented_defaults_hold():
    settings = load(None, {})
    assert masked(settings) == {
        "RECEIVER_DATABASE_URL": "sqlite:///receiver.db",
        "RECEIVER_HOST": "127.0.0.1",
        "RECEIVER_PORT": "8080",
        "RECEIVER_PUBLIC_URL": "http://127.0.0.1:8080",
        "RECEIVER_API_KEY": None,
        "RECEIVER_TRUSTED_PROXIES": "",
        "RECEIVER_EGRESS_ALLOW": "",
        "RECEIVER_MAX_BODY_BYTES": "4194304",
        "RECEIVER_RETRY_SCHEDULE": "5s,5m,30m,2h,5h,10h,14h,20h,24h",
        "RECEIVER_DELIVERY_TIMEOUT": "20s",
        "RECEIVER_DELIVERY_CONCURRENCY": "256",
        "RECEIVER_DISABLE_AFTER": "120h",
        "RECEIVER_LOCK_WAIT": "1s",
        "RECEIVER_LOG_LEVEL": "info",
        "RECEIVER_LOG_FORMAT": "text",
    }
    assert settings.public_url_is_default


def test_defaults_pass_their_own_checks():
    shown = {name: value for name, value in masked(Settings()).items() if value is not None}
    assert masked(load(None, shown)) == masked(Settings())


def test_the_environment_is_read_and_other_programs_names_are_not():
    settings = load(None, {"RECEIVER_PORT": "9", "PORT": "10", "receiver_port": "11", "RECEIVER_TEST_DSN": "x"})
    assert settings.port == 9


def test_names_of_the_command_line_are_not_settings_and_no_error():
    assert load(None, {"RECEIVER_URL": "http://x", "RECEIVER_KEY": "k"}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path):
    config = tmp_path / "receiver.toml"
    config.write_text('host = "::1"\nport = 9000\nretry_schedule = [1, "2m"]\negress_allow = ["10.0.0.0/8"]\n')
    settings = load(config, {"RECEIVER_PORT": "9001"})
    assert (settings.host, settings.port) == ("::1", 9001)
    assert settings.retry_schedule == (1.0, 120.0)
    assert settings.egress_allow == (IPv4Network("10.0.0.0/8"),)
    assert settings.public_url == "http://[::1]:9001"


def test_a_secret_comes_from_a_file_of_its_own(tmp_path: Path):
    secret = tmp_path / "key"
    secret.write_text(KEY + "\n")
    settings = load(None, {"RECEIVER_API_KEY_FILE": str(secret)})
    assert settings.api_key == SecretStr(KEY)


def test_a_secret_file_in_the_environment_wins_over_a_secret_in_the_config(tmp_path: Path):
    secret, config = tmp_path / "key", tmp_path / "receiver.toml"
    secret.write_text(KEY)
    config.write_text('api_key = "another key in the file"\n')
    assert load(config, {"RECEIVER_API_KEY_FILE": str(secret)}).api_key == SecretStr(KEY)


def test_every_secret_can_come_from_a_file():
    secrets = {name for name, info in Settings.model_fields.items() if "SecretStr" in str(info.annotation)}
    assert secrets
    assert secrets <= FROM_FILE <= set(Settings.model_fields)


def test_a_secret_given_twice_is_an_error_that_names_both(tmp_path: Path):
    secret = tmp_path / "key"
    secret.write_text(KEY)
    assert problems({"RECEIVER_API_KEY": KEY, "RECEIVER_API_KEY_FILE": str(secret)}) == (
        "RECEIVER_API_KEY_FILE: also given as RECEIVER_API_KEY; keep one",
    )


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path):
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    assert problem("RECEIVER_API_KEY_FILE", str(tmp_path / "none")) == "cannot be read: No such file or directory"
    assert problem("RECEIVER_API_KEY_FILE", str(tmp_path)) == "cannot be read: Is a directory"
    assert problem("RECEIVER_API_KEY_FILE", str(binary)) == "is not a UTF-8 text file"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("RECEIVER_PROT", "; did you mean RECEIVER_PORT?"),
        ("RECEIVER_Port", "; did you mean RECEIVER_PORT?"),
        ("RECEIVER_PORT_FILE", ""),
        ("RECEIVER_", ""),
        ("RECEIVER_RETENTION_EVENTS", ""),
        ("RECEIVER_RETENTION_RECEIPTS", ""),
    ],
)
def test_an_unknown_name_is_an_error(name: str, hint: str):
    assert problem(name, "1") == f"no such setting{hint}"


def test_an_unknown_name_in_the_file_is_an_error(tmp_path: Path):
    config = tmp_path / "receiver.toml"
    config.write_text('hosst = "x"\n[log]\nlevel = "info"\n')
    assert problems({}, config) == (
        "hosst (in receiver.toml): no such setting; did you mean host?",
        "log (in receiver.toml): no such setting",
    )


def test_the_file_cannot_give_a_table_or_a_yes_where_a_value_is_due(tmp_path: Path):
    config = tmp_path / "receiver.toml"
    config.write_text("port = true\n[host]\nname = 1\n")
    assert problems({}, config) == (
        "port (in receiver.toml): must be a text, a number or a list",
        "host (in receiver.toml): must be a text, a number or a list",
    )


def test_a_number_where_a_list_is_due_is_a_list_of_one(tmp_path: Path):
    config = tmp_path / "receiver.toml"
    config.write_text("retry_schedule = 30\n")
    assert load(config, {}).retry_schedule == (30.0,)


def test_a_config_that_cannot_be_read_is_named(tmp_path: Path):
    missing, broken, binary = tmp_path / "none.toml", tmp_path / "broken.toml", tmp_path / "binary.toml"
    broken.write_text("port = \n")
    binary.write_bytes(b"\xff")
    assert problems({}, missing) == (f"--config: {missing} cannot be read: No such file or directory",)
    assert problems({}, broken)[0].startswith(f"--config: {broken} is not TOML: ")
    assert problems({}, binary) == (f"--config: {binary} is not UTF-8",)


def test_every_problem_is_told_at_once():
    found = problems(
        {
            "RECEIVER_HOST": "[::1]",
            "RECEIVER_LOG_LEVEL": "loud",
            "RECEIVER_NO_SUCH": "1",
            "RECEIVER_API_KEY_FILE": "/nonexistent",
            "RECEIVER_PORT": "http",
        }
    )
    assert [line.partition(":")[0] for line in found] == [
        "RECEIVER_API_KEY_FILE",
        "RECEIVER_NO_SUCH",
        "RECEIVER_HOST",
        "RECEIVER_PORT",
        "RECEIVER_LOG_LEVEL",
    ]
    assert str(BadSettings(found)) == "\n".join(found)


@given(st.sampled_from(sorted(Settings.model_fields)), st.text(st.characters(min_codepoint=33), min_size=5))
def test_no_value_is_ever_repeated_in_an_error(field: str, value: str):
    value = f"?{value}"  # no setting but the key takes a question mark
    if field != "api_key":
        assert value not in problem(f"RECEIVER_{field.upper()}", value)


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


@pytest.mark.parametrize("key", ["", "short", "x" * 15])
def test_a_short_api_key_is_refused(key: str):
    assert problem("RECEIVER_API_KEY", key) == "must have 16 characters or more"


@pytest.mark.parametrize("key", [f" {KEY}", f"{KEY}\n", f"{KEY}\x00{KEY}"])
def test_an_api_key_that_no_header_can_carry_is_refused(key: str):
    assert problem("RECEIVER_API_KEY", key).startswith("must not begin or end with a blank")


def test_the_api_key_is_never_shown():
    settings = load(None, {"RECEIVER_API_KEY": KEY})
    assert KEY not in f"{settings!r} {settings} {masked(settings)}"
    assert masked(settings)["RECEIVER_API_KEY"] == "********"


def test_an_error_of_the_model_itself_does_not_repeat_a_value():
    with pytest.raises(ValidationError) as caught:
        Settings(database_url="postgresql+x://u:hunter2@h/d")
    assert "hunter2" not in str(caught.value)


def test_proxies_are_networks():
    settings = load(None, {"RECEIVER_TRUSTED_PROXIES": "10.0.0.0/8, ::1"})
    assert settings.trusted_proxies == (IPv4Network("10.0.0.0/8"), IPv6Network("::1/128"))
    assert masked(settings)["RECEIVER_TRUSTED_PROXIES"] == "10.0.0.0/8,::1/128"


def test_everybody_is_trusted_only_when_spelled_out_as_a_star():
    settings = load(None, {"RECEIVER_TRUSTED_PROXIES": "*"})
    assert settings.trusted_proxies == ANYWHERE
    assert masked(settings)["RECEIVER_TRUSTED_PROXIES"] == "*"
    assert Settings(trusted_proxies=ANYWHERE) == settings


@pytest.mark.parametrize("networks", ["0.0.0.0/0", "::/0", "0.0.0.0/0,::/0", "10.0.0.0/8,::/0"])
def test_a_network_that_covers_everything_is_not_a_proxy(networks: str):
    assert problem("RECEIVER_TRUSTED_PROXIES", networks).startswith("trusts everybody")


@pytest.mark.parametrize("name", ["RECEIVER_TRUSTED_PROXIES", "RECEIVER_EGRESS_ALLOW"])
@pytest.mark.parametrize(
    "networks", ["*,10.0.0.0/8", "10.*", "10.0.0.1/8", "10.0.0.0/8,", "example.com", "10.0.0.0/33"]
)
def test_what_is_no_network_is_refused(name: str, networks: str):
    assert problem(name, networks).startswith("must be networks in CIDR form")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5", 5), ("0.5", 0.5), ("250ms", 0.25), ("5s", 5), ("1.5m", 90), ("2h", 7200), ("1d", 86_400), (" 7s ", 7)],
)
def test_durations_are_seconds_or_have_a_unit(text: str, expected: float):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "s", "-5", "5 s", "5w", "1e3", "nan", "inf", "٥s", "5s5", "5S"])
def test_what_is_no_duration_is_refused(text: str):
    with pytest.raises(ValueError, match="must be seconds or a number with a unit"):
        seconds(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECEIVER_PORT", "-1"),
        ("RECEIVER_PORT", "65536"),
        ("RECEIVER_MAX_BODY_BYTES", "1023"),
        ("RECEIVER_MAX_BODY_BYTES", "4MiB"),
        ("RECEIVER_DELIVERY_TIMEOUT", "0"),
        ("RECEIVER_DELIVERY_TIMEOUT", "6m"),
        ("RECEIVER_DELIVERY_CONCURRENCY", "0"),
        ("RECEIVER_LOCK_WAIT", "11m"),
        ("RECEIVER_RETRY_SCHEDULE", ""),
        ("RECEIVER_RETRY_SCHEDULE", "5s,,5m"),
        ("RECEIVER_RETRY_SCHEDULE", "5s,0s"),
        ("RECEIVER_RETRY_SCHEDULE", "31d"),
        ("RECEIVER_RETRY_SCHEDULE", ",".join(["1s"] * 101)),
        ("RECEIVER_LOG_LEVEL", "trace"),
        ("RECEIVER_LOG_FORMAT", "xml"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, value: str):
    assert problem(name, value)


def test_words_may_be_in_any_case():
    settings = load(None, {"RECEIVER_LOG_LEVEL": "DEBUG", "RECEIVER_LOG_FORMAT": "Json"})
    assert (settings.log_level, settings.log_format) == ("debug", "json")


delays = st.integers(1, 30 * 86_400_000).map(lambda ms: ms / 1000)


@given(st.lists(delays, min_size=1, max_size=100), delays.filter(lambda s: s <= 300), st.integers(1, 65_535))
def test_what_is_shown_can_be_given_back(schedule: list[float], timeout: float, port: int):
    settings = Settings(retry_schedule=tuple(schedule), delivery_timeout=timeout, port=port)
    shown = {name: value for name, value in masked(settings).items() if value is not None}
    again = load(None, shown)
    assert masked(again) == masked(settings)
    assert again.retry_schedule == pytest.approx(settings.retry_schedule)


def test_settings_cannot_be_changed_and_take_no_unknown_name():
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Settings(prot=1)  # type: ignore[call-arg]


def test_every_setting_has_a_help_of_one_line():
    for name, info in Settings.model_fields.items():
        assert info.description, name
        assert "\n" not in info.description, name
        assert "|" not in info.description, name


def test_the_table_has_a_row_for_every_setting():
    rows = module.settings_table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(masked(Settings()))
