"""How a subscription is doing, by nothing but its failures in a row: failing, then disabled, or recovered. Pure."""

from dataclasses import dataclass, replace
from typing import Literal

DisabledBy = Literal["failures", "gone", "answer"]
"""Nothing but failures for too long, a 410, or an answer's `webhook-delivery: disable`."""

FAILING_AFTER = 10
FAILING_MICROS = 3_600_000_000
APART_AT_LEAST = 5
APART_MICROS = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Attempts that failed since the last success; times are unix microseconds.

    failures   how many, in a row
    since      when the first of them was
    apart      how many of them were hours apart, so that one bad hour after a long silence disables nobody
    apart_at   when the last of those was
    told       `subscription.failing` was told of
    lapsed     it was disabled, and since it was set to work again nothing has arrived yet
    """

    failures: int = 0
    since: int | None = None
    apart: int = 0
    apart_at: int | None = None
    told: bool = False
    lapsed: bool = False
    last_error: str | None = None
    last_status: int | None = None


HEALTHY = Health()


def failed(health: Health, at: int, *, error: str | None, status: int | None, disable_after: int) -> Health:
    """After one more failure. `disable_after` in microseconds: where it is short, hours are too."""
    apart = health.apart_at is None or at - health.apart_at >= _apart(disable_after)
    return replace(
        health,
        failures=health.failures + 1,
        since=at if health.since is None else health.since,
        apart=health.apart + apart,
        apart_at=at if apart else health.apart_at,
        last_error=error,
        last_status=status,
    )


def is_failing(health: Health, at: int) -> bool:
    """Ten failures in a row, or an hour of nothing else."""
    if health.since is None:
        return False
    return health.failures >= FAILING_AFTER or (health.failures > 1 and at - health.since >= FAILING_MICROS)


def is_hopeless(health: Health, at: int, disable_after: int) -> bool:
    """Nothing but failures for so long, and several of them hours apart."""
    if health.since is None:
        return False
    return at - health.since >= disable_after and health.apart >= APART_AT_LEAST


def _apart(disable_after: int) -> int:
    return min(APART_MICROS, disable_after // (2 * APART_AT_LEAST))
