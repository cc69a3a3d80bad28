"""An issuer that declines what simple rules take for fraud, so that nobody learns what a declined payment was.

A few of the payments that the rules would decline are approved by chance, as a bank does to learn whether they still
hold. With a model in the place of the rules, the world has the feedback of a pipeline that decides::

    WorldConfig(issuer=lambda seed: lambda payment: score(payment) >= 0.5)
"""

from __future__ import annotations

import random
from collections import defaultdict, deque

from examples.fraud.simulation import DAY_MS, EUR_PER, HOUR_MS, Transaction

_LET_THROUGH = 0.05
_LARGE_EUR = 600.0
_NEW_DEVICE_EUR = 200.0
_CARD_PER_HOUR = 3
_FOREIGN_PER_DAY = 4


class Issuer:
    """The rules, which remember what each card and each terminal did; the same seed decides alike.

    Args:
        seed: Of the chance by which payments are let through.
    """

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"issuer {seed}")  # noqa: S311 - a simulation
        self._of_card: dict[str, deque[int]] = defaultdict(deque)
        self._foreign_at: dict[str, deque[int]] = defaultdict(deque)

    def __call__(self, payment: Transaction) -> bool:
        """Whether the payment is declined. Payments must come in order of time."""
        return self._is_suspect(payment) and self._rng.random() >= _LET_THROUGH

    def _is_suspect(self, payment: Transaction) -> bool:
        is_foreign = payment.country != payment.home_country
        often = _count(self._of_card[payment.card_id], payment.time_ms, HOUR_MS) > _CARD_PER_HOUR
        # Contactless payments of cards from abroad: how cloned cards are used.
        cloned = False
        if is_foreign and payment.channel == "contactless":
            cloned = _count(self._foreign_at[payment.terminal_id], payment.time_ms, DAY_MS) > _FOREIGN_PER_DAY
        eur = payment.amount * EUR_PER[payment.currency]
        new_device = payment.device_id is not None and payment.device_id.startswith("n")
        return often or cloned or (is_foreign and eur > _LARGE_EUR) or (new_device and eur > _NEW_DEVICE_EUR)


def _count(times: deque[int], now_ms: int, within_ms: int) -> int:
    """Add a time, and return how many are within the last so many ms."""
    times.append(now_ms)
    while times[0] <= now_ms - within_ms:
        times.popleft()
    return len(times)
