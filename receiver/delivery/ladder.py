"""The health of every subscription over its attempts: whom to tell that one fails, was disabled, or is well again.

What a batch of outcomes does to it is worked out inside the transaction that records them, and adopted after COMMIT.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from receiver.delivery.health import HEALTHY, DisabledBy, Health, failed, is_failing, is_hopeless
from receiver.sms.timestamps import to_text
from receiver.storage.catalog import Catalog
from receiver.storage.deliveries import Finished
from receiver.storage.recording import Notice
from receiver.storage.subscriptions import Subscription


@dataclass(slots=True)
class Steps:
    """What a batch changes: the healths that are others now, whom to disable and why, and what to tell."""

    healths: dict[str, Health] = field(default_factory=dict)
    disable: dict[str, DisabledBy] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)


class Ladder:
    """`disable_after` in microseconds."""

    def __init__(self, catalog: Catalog, disable_after: int) -> None:
        self._catalog = catalog
        self._disable_after = disable_after
        self._healths: dict[str, Health] = {}

    def climb(self, outcomes: Sequence[Finished], now: int) -> Steps:
        """The steps of a batch; nothing is changed yet."""
        steps = Steps()
        for item in outcomes:
            subscription = self._catalog.subscription(item.subscription_id)
            if subscription is None:
                continue
            health = steps.healths.get(subscription.id) or self._health(subscription)
            after = self._after(steps, subscription, health, item, now)
            if after is not health:
                steps.healths[subscription.id] = after
        return steps

    def adopt(self, healths: Mapping[str, Health]) -> None:
        """What was worked out is on disk."""
        self._healths.update(healths)

    def forget(self, subscription_id: str) -> None:
        """It was removed, or set to work anew: what the database says is true."""
        self._healths.pop(subscription_id, None)

    def _health(self, subscription: Subscription) -> Health:
        return self._healths.get(subscription.id, subscription.health)

    def _after(self, steps: Steps, subscription: Subscription, health: Health, item: Finished, now: int) -> Health:
        if item.state == "succeeded":
            if subscription.state == "disabled" or subscription.id in steps.disable:
                return health  # what was under way is no recovery
            if health.told or health.lapsed:
                steps.notices.append(_notice("subscription.recovered", subscription, health))
            after = HEALTHY if health.failures or health.told or health.lapsed else health
        else:
            attempt = item.attempt
            after = failed(health, now, error=attempt.error, status=attempt.status, disable_after=self._disable_after)
            if not after.told and is_failing(after, now):
                steps.notices.append(_notice("subscription.failing", subscription, after))
                after = replace(after, told=True)
        because = item.disable
        if because is None and is_hopeless(after, now, self._disable_after):
            because = "failures"
        if because is not None and subscription.state != "disabled" and subscription.id not in steps.disable:
            steps.disable[subscription.id] = because
            steps.notices.append(_notice("subscription.disabled", subscription, after, because=because))
            after = replace(after, told=True)
        return after


def _notice(name: str, subscription: Subscription, health: Health, **more: Any) -> Notice:
    """The figures behind the verdict; of the URL its host alone, for the rest may be a secret."""
    data = {
        "subscription_id": subscription.id,
        "host": urlsplit(subscription.url).hostname or "",
        "failures": health.failures,
        "since": to_text(health.since) if health.since is not None else None,
        "last_error": health.last_error,
        "last_status": health.last_status,
        **more,
    }
    return Notice(type=name, data=data, about=subscription.id)
