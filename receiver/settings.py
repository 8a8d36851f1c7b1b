"""Every knob of the receiver: its name, its default and its one-line help; read once, before anything is opened.

The environment (`RECEIVER_PORT`) wins over the file of `--config` (`port = 8080`). A secret may also stand in a file of
its own, named by `RECEIVER_API_KEY_FILE`. Nothing is accepted and ignored: an unknown name is an error.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

PREFIX = "RECEIVER_"
FROM_FILE = frozenset({"api_key", "database_url"})
"""What may be given as `…_FILE`: every secret, and the database's address, which may hold a password."""

_NOT_OURS = ("RECEIVER_TEST_",)
_OF_COMMANDS = frozenset({"RECEIVER_URL", "RECEIVER_KEY"})  # the command line's `--url` and `--key`
_MASK = "********"

Network = IPv4Network | IPv6Network
ANYWHERE: tuple[Network, ...] = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))
"""What a lone `*` means for TRUSTED_PROXIES."""

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h|d)?")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


class BadSettings(Exception):
    """The settings cannot be used. `problems` has all of them as `NAME: what is wrong`, never a value."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def seconds(value: object) -> float:
    """`5`, `5s`, `1.5m`, `2h`, `1d`, `250ms` → seconds; raises ValueError."""
    match = _DURATION.fullmatch(str(value).strip())
    if match is None:
        raise ValueError("must be seconds or a number with a unit (ms, s, m, h, d), such as 30s or 5m")
    return float(match[1]) * _UNITS[match[2] or "s"]


def _items(value: object) -> list[str]:
    """A comma-separated text, or a list of TOML; an empty text is an empty list."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",")] if value.strip() else []
    if isinstance(value, list | tuple):
        return [str(item).strip() for item in value]
    return [str(value)]


def _schedule(value: object) -> tuple[float, ...]:
    return tuple(seconds(item) for item in _items(value))


def _network(item: str) -> Network:
    try:
        return ip_network(item)
    except ValueError:
        raise ValueError("must be networks in CIDR form, such as 10.0.0.0/8, without host bits") from None


def _networks(value: object) -> tuple[Network, ...]:
    return tuple(_network(item) for item in _items(value))


def _proxies(value: object) -> tuple[Network, ...]:
    if _items(value) == ["*"] or (isinstance(value, tuple) and value == ANYWHERE):
        return ANYWHERE
    networks = _networks(value)
    if any(network.prefixlen == 0 for network in networks):
        raise ValueError("trusts everybody; if that is meant, spell it out as a lone *")
    return networks


def _database(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    if separator and scheme.partition("+")[0] in {"postgres", "postgresql"}:
        return _postgres(url)
    if scheme != "sqlite" or not separator:
        raise ValueError("must be sqlite:///FILE (relative), sqlite:////FOLDER/FILE (absolute) or postgresql://…")
    name = rest.removeprefix("/")
    if name == rest or not name or name.endswith("/") or name == ":memory:" or re.search(r"[?#\x00-\x1f\x7f]", name):
        raise ValueError(
            "must name a file and nothing else, as in sqlite:///receiver.db or sqlite:////data/receiver.db"
        )
    return url


def _postgres(url: str) -> str:
    try:
        parts = urlsplit(url)
        hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
        named = all(host.hostname and host.port != 0 for host in hosts)
        usable = (named or "host=" in parts.query) and len(parts.path) > 1
    except ValueError:
        usable = False
    if "+" in url.partition("://")[0] or not usable or not url.isprintable():
        raise ValueError("must name a server and a database, as in postgresql://USER:PASSWORD@HOST/DATABASE")
    return url


def _host(name: str) -> str:
    try:
        ip_address(name)
    except ValueError:
        if not _HOST.fullmatch(name):
            raise ValueError("must be an address or a host name, without port or brackets") from None
    return name


def _public_url(url: str) -> str:
    """Scheme, host, port and path prefix; without the trailing slash. Vendors sign this text byte for byte."""
    if not re.fullmatch(r"[\x21-\x7e]+", url) or any(sign in url for sign in "?#@\\"):
        raise ValueError("must be a plain ASCII URL without user, query and fragment")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be http:// or https:// and a host, such as https://sms.example.com")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _default_public_url(given: dict[str, Any]) -> str:
    host = given["host"]
    return f"http://[{host}]:{given['port']}" if ":" in host else f"http://{host}:{given['port']}"


def _api_key(key: SecretStr) -> SecretStr:
    text = key.get_secret_value()
    if len(text) < 16:
        raise ValueError("must have 16 characters or more")
    if text != text.strip() or not text.isprintable():
        raise ValueError("must not begin or end with a blank, nor hold a control character: no header can carry it")
    return key


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _for_ever(value: object) -> object:
    return None if value is None or not str(value).strip() else seconds(value)


Seconds = Annotated[float, BeforeValidator(seconds)]
Kept = Annotated[float | None, BeforeValidator(_for_ever)]
"""Seconds; empty, None: for ever."""
Delay = Annotated[float, Field(gt=0, le=30 * 86_400)]


class Settings(BaseModel):
    """One process's settings; times in seconds, sizes in bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    database_url: Annotated[str, AfterValidator(_database)] = Field(
        "sqlite:///receiver.db",
        description="where everything is kept: `sqlite:///FILE` (relative), `sqlite:////FOLDER/FILE` (absolute), or "
        "`postgresql://USER:PASSWORD@HOST/DATABASE`, which many processes share",
    )
    host: Annotated[str, AfterValidator(_host)] = Field(
        "127.0.0.1", description="address to listen on; `0.0.0.0` for all of IPv4, `::` for all of IPv6"
    )
    port: int = Field(8080, ge=0, le=65_535, description="port to listen on; 0 takes a free one")
    public_url: Annotated[str, AfterValidator(_public_url)] = Field(
        default_factory=_default_public_url,
        description="how vendors reach this receiver from outside; a path prefix is kept",
    )
    api_key: Annotated[SecretStr, AfterValidator(_api_key)] | None = Field(
        None,
        description="an admin key of 16 characters or more, valid while set; without it the first start makes one",
    )
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_proxies)] = Field(
        (), description="networks (CIDR) whose `X-Forwarded-For` is believed; a lone `*` believes everybody"
    )
    egress_allow: Annotated[tuple[Network, ...], BeforeValidator(_networks)] = Field(
        (), description="networks (CIDR) beyond the public internet that subscribers may live in"
    )
    max_body_bytes: int = Field(
        4 * 1024 * 1024, ge=1024, le=256 * 1024 * 1024, description="largest body that a vendor may send, in bytes"
    )
    retry_schedule: Annotated[tuple[Delay, ...], BeforeValidator(_schedule)] = Field(
        (5.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0),
        min_length=1,
        max_length=100,
        description="delays after each failed attempt of a delivery, in seconds or with a unit",
    )
    delivery_timeout: Seconds = Field(20.0, gt=0, le=300, description="the longest that one attempt may take")
    delivery_concurrency: int = Field(
        256, ge=1, le=10_000, description="attempts under way at once, over all subscriptions of the process"
    )
    disable_after: Seconds = Field(
        5 * 86_400.0,
        ge=1,
        le=90 * 86_400,
        description="a subscription is disabled after nothing but failures for so long",
    )
    retention_events: Kept = Field(
        None,
        ge=60,
        description="how long events are kept, with their messages and deliveries, unless still owed; empty: for ever",
    )
    retention_receipts: Kept = Field(
        None, ge=60, description="how long requests are kept as they came; empty: for ever"
    )
    lock_wait: Seconds = Field(
        1.0, le=600, description="how long a start waits for another process to let go of the database"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        "info", description="the least severe line that is logged: `debug`, `info`, `warning` or `error`"
    )
    log_format: Annotated[Literal["text", "json"], BeforeValidator(_lower)] = Field(
        "text", description="`text` for people, `json` for machines; one line a record either way"
    )

    @property
    def on_postgres(self) -> bool:
        return not self.database_url.startswith("sqlite:")

    @property
    def database_path(self) -> Path:
        """Of a database that is a file."""
        return Path(self.database_url.removeprefix("sqlite:///"))

    @property
    def owners_socket(self) -> Path | None:
        """Where the process that owns a database listens to commands; one that many share has no owner."""
        return None if self.on_postgres else self.database_path.with_name(self.database_path.name + ".sock")

    @property
    def database_name(self) -> str:
        """As it may be shown: a file, or an address without its password."""
        return without_password(self.database_url) if self.on_postgres else str(self.database_path)

    @property
    def public_url_is_default(self) -> bool:
        """Nobody said how vendors reach us; those that sign the URL will not verify behind a proxy."""
        return "public_url" not in self.model_fields_set


@dataclass(frozen=True, slots=True)
class _Given:
    name: str
    value: object


def load(config: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of a file (or none) and an environment; raises BadSettings with every problem at once."""
    problems: list[str] = []
    given = _take(_config_entries(config, problems), problems) if config else {}
    given |= _take(_environ_entries(environ), problems)
    try:
        settings = Settings.model_validate({field: entry.value for field, entry in given.items()})
    except ValidationError as error:
        raise BadSettings([*problems, *_explained(error, given)]) from None
    if problems:
        raise BadSettings(problems)
    return settings


def _environ_entries(environ: Mapping[str, str]) -> Iterable[tuple[str, str, object]]:
    for name in sorted(environ):
        if name.startswith(PREFIX) and not name.startswith(_NOT_OURS) and name not in _OF_COMMANDS:
            key = name.removeprefix(PREFIX)
            yield name, key.lower() if key.isupper() else key, environ[name]


def _config_entries(path: Path, problems: list[str]) -> Sequence[tuple[str, str, object]]:
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        problems.append(f"--config: {path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"--config: {path} is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"--config: {path} is not TOML: {error}")
    else:
        return [(f"{key} (in {path.name})", key, value) for key, value in table.items()]
    return []


def _take(entries: Iterable[tuple[str, str, object]], problems: list[str]) -> dict[str, _Given]:
    """Field → what was given for it, the contents of `…_FILE` included."""
    given: dict[str, _Given] = {}
    for name, key, value in entries:
        field = key if key in Settings.model_fields else key.removesuffix("_file")
        if field not in Settings.model_fields or (key != field and field not in FROM_FILE):
            problems.append(f"{name}: no such setting{_nearest(name, key)}")
        elif field in given:
            problems.append(f"{name}: also given as {given[field].name}; keep one")
        elif isinstance(value, bool | dict):
            problems.append(f"{name}: must be a text, a number or a list")
        else:
            content = value if key == field else _content(name, str(value), problems)
            if content is not None:
                given[field] = _Given(name, content)
    return given


def _nearest(name: str, key: str) -> str:
    close = difflib.get_close_matches(key.lower(), Settings.model_fields, n=1, cutoff=0.7)
    if not close:
        return ""
    return f"; did you mean {PREFIX + close[0].upper() if name.startswith(PREFIX) else close[0]}?"


def _content(name: str, path: str, problems: list[str]) -> str | None:
    """A secret's file without the line end that editors put there."""
    try:
        return Path(path).read_text("utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        problems.append(f"{name}: cannot be read: {error.strerror}")
    except ValueError:
        problems.append(f"{name}: is not a UTF-8 text file")
    return None


def _explained(error: ValidationError, given: Mapping[str, _Given]) -> Iterable[str]:
    """One line a setting, the first thing that is wrong with it. PUBLIC_URL's default fails with HOST or PORT only."""
    told: set[str] = set()
    for item in error.errors(include_url=False, include_input=False):
        field = str(item["loc"][0])
        if field not in told and item["type"] != "default_factory_not_called":
            told.add(field)
            yield f"{given[field].name}: {item['msg'].removeprefix('Value error, ').removeprefix('Input ')}"


def without_password(url: str) -> str:
    """Also not one that stands among the parameters."""
    if url.startswith("sqlite:"):
        return url
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    netloc = f"{name}{colon and f':{_MASK}'}@{host}" if user else host
    return urlunsplit(parts._replace(netloc=netloc, query=re.sub(r"(password=)[^&]*", rf"\1{_MASK}", parts.query)))


def _shown(value: object) -> str | None:
    """A value as one would write it into the environment."""
    match value:
        case SecretStr():
            return _MASK
        case tuple():
            return "*" if value == ANYWHERE else ",".join(str(_shown(item)) for item in value)
        case float():
            return _duration(value)
        case None:
            return None
        case _:
            return str(value)


def _duration(value: float) -> str:
    for unit in ("h", "m", "s"):
        if value and value % _UNITS[unit] == 0:
            return f"{value / _UNITS[unit]:.0f}{unit}"
    return f"{value:.6f}".rstrip("0").rstrip(".") + "s"


def masked(settings: Settings) -> dict[str, str | None]:
    """Every setting under its name in the environment; secrets as asterisks, what is not set as None."""
    shown = {f"{PREFIX}{field.upper()}": _shown(getattr(settings, field)) for field in Settings.model_fields}
    return shown | {f"{PREFIX}DATABASE_URL": without_password(settings.database_url)}


def settings_table() -> str:
    """The Markdown table of docs/settings.md."""
    rows = ["| name | default | what it is |", "|---|---|---|"]
    defaults = masked(Settings()) | {f"{PREFIX}PUBLIC_URL": "http://HOST:PORT"}
    for field, info in Settings.model_fields.items():
        default = defaults[f"{PREFIX}{field.upper()}"]
        also = f" (or `{PREFIX}{field.upper()}_FILE`)" if field in FROM_FILE else ""
        rows.append(f"| `{PREFIX}{field.upper()}`{also} | {f'`{default}`' if default else '–'} | {info.description} |")
    return "\n".join(rows) + "\n"
