"""Simulates the card payments of customers at merchants, some of them fraudulent.

The idea (customers with spending habits near their home; frauds by amount, by terminal and by card; late labels) is
that of the simulator in Le Borgne, Siblini, Lebichot and Bontempi, *Reproducible Machine Learning for Credit Card Fraud
Detection: Practical Handbook* (2022), chapter 3. The code and all parameters are our own.

There are three scenarios of fraud before the drift, and a fourth after it:

- *large*: one payment of an unusual amount. Honest large payments exist too.
- *terminal*: a compromised terminal. For one to three weeks all payments there are fraudulent: those of regular
  customers, which look normal, and contactless payments of cloned cards from anywhere, below the limit for a PIN.
- *card*: stolen card data. Over some days, bursts of online payments a few minutes apart, from one unknown device.
- *relay*, instead of *card* after the drift: the bursts are small contactless payments in shops. After the drift, all
  amounts are larger and more payments are online.

With an issuer (:mod:`examples.fraud.issuer`), some payments are declined, and fraudsters react: they leave a terminal
where several of a day's frauds were declined, and go on at another one the next day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count

import numpy as np
from numpy.typing import NDArray

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
START_MS = 1_767_225_600_000
"""2026-01-01T00:00Z, when the simulation begins."""

COUNTRIES = ("DE", "FR", "GB", "US")
CURRENCY = {"DE": "EUR", "FR": "EUR", "GB": "GBP", "US": "USD"}
EUR_PER = {"EUR": 1.0, "GBP": 1.15, "USD": 0.92}
_FIRST = ("Ada", "Alan", "Barbara", "Edsger", "Frances", "Grace", "John", "Karen", "Leslie", "Radia", "Robin", "Tony")
_LAST = (
    "Abel",
    "Bauer",
    "Clarke",
    "Dubois",
    "Evans",
    "Fischer",
    "Garcia",
    "Huber",
    "Leroy",
    "Martin",
    "Novak",
    "Weber",
)

_CONTACTLESS_LIMIT_EUR = 50.0
_NEAR_TERMINALS = 12
_ONLINE_TERMINAL_SHARE = 0.2
# Of one day: two declines may be bad luck.
_DECLINES_UNTIL_LEFT = 3
_SECOND_CARD_SHARE = 0.3

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """The size of the simulated world, the amount of fraud, and the time of the drift.

    The defaults give about 1,000 payments a day, of which about 2 % are fraudulent. Rates are per day. ``issuer`` takes
    the seed and returns what says of each payment, in order of time, whether it is declined; None: all are approved.
    """

    customers: int = 600
    terminals: int = 180
    large_fraud_share: float = 0.003
    large_honest_share: float = 0.004
    new_compromised_terminals: float = 0.15
    cloned_payments: float = 6.0
    new_stolen_cards: float = 0.8
    drift_after: timedelta | None = timedelta(days=35)
    issuer: Callable[[int], Decline] | None = None

    @property
    def drift_from_ms(self) -> int | None:
        """Event time at which the drift begins, epoch ms; None without drift."""
        return None if self.drift_after is None else START_MS + self.drift_after // timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A payment and its fraud scenario, None for an honest one; and whether the issuer declined it."""

    time_ms: int
    card_id: str
    customer_id: str
    cardholder_name: str | None
    terminal_id: str
    amount: float
    currency: str
    channel: str
    country: str
    home_country: str
    device_id: str | None
    scenario: str | None
    declined: bool = False


Decline = Callable[[Transaction], bool]
"""Whether a payment is declined; called once for each payment, in order of time."""


@dataclass(frozen=True, slots=True)
class _Payments:
    """Generated payments by column; ``device`` is -1 for the customer's own device, -2 for a new one, else a number."""

    time: Ints
    customer: Ints
    terminal: Ints
    amount: Floats
    device: Ints
    scenario: NDArray[np.int8]
    contactless: NDArray[np.bool_]

    @staticmethod
    def join(parts: list[_Payments]) -> _Payments:
        """The payments of all parts by time; ties are in the order of the parts."""
        order = np.argsort(np.concatenate([part.time for part in parts]), kind="stable")
        return _Payments(*(np.concatenate([getattr(p, name) for p in parts])[order] for name in _Payments.__slots__))


_OWN_DEVICE, _NEW_DEVICE = -1, -2
_SCENARIOS = (None, "large", "terminal", "card", "relay")
_LARGE, _TERMINAL, _CARD, _RELAY = 1, 2, 3, 4


class World:
    """Simulates one day at a time; the same seed and configuration give the same days."""

    def __init__(self, seed: int, config: WorldConfig) -> None:
        self._rng = rng = np.random.default_rng([seed, 1])
        self._config = config
        self._declines = None if config.issuer is None else config.issuer(seed)
        self._devices = 0
        self._bursts: list[_Payments] = []
        n, m = config.customers, config.terminals
        home = rng.random((n, 2))
        place = rng.random((m, 2))
        self._home_country = (home[:, 0] * len(COUNTRIES)).astype(int)
        self._country = (place[:, 0] * len(COUNTRIES)).astype(int)
        self._payments_per_day = rng.uniform(0.3, 3.0, n)
        self._mean_amount = rng.lognormal(3.4, 0.6, n)
        self._price_level = rng.uniform(0.6, 1.6, m)
        physical = max(1, round(m * (1 - _ONLINE_TERMINAL_SHARE)))
        self._physical, self._online = np.arange(physical), np.arange(min(physical, m - 1), m)
        distance = ((home[:, None, :] - place[None, :physical, :]) ** 2).sum(axis=2)
        self._near = np.argsort(distance, axis=1)[:, :_NEAR_TERMINALS]
        self._compromised_until = np.zeros(m, dtype=np.int64)
        self._name = [f"{_FIRST[a]} {_LAST[b]}" for a, b in rng.integers(0, len(_FIRST), (n, 2))]
        numbers = rng.integers(10**14, 10**15, (n, 2))
        has_second_card = rng.random(n) < _SECOND_CARD_SHARE
        self._cards = [
            (f"4{a}", f"5{b}") if more else (f"4{a}",) * 2
            for (a, b), more in zip(numbers.tolist(), has_second_card, strict=True)
        ]

    def days(self) -> Iterator[list[Transaction]]:
        """Yield the payments of each day in order of their time, without end."""
        for start in count(START_MS, DAY_MS):
            self._compromise(start)
            parts = [self._habitual_payments(start), self._cloned_payments(start), *self._bursts_until(start + DAY_MS)]
            today = self._transactions(_Payments.join(parts))
            if self._declines is not None:
                today = [replace(payment, declined=self._declines(payment)) for payment in today]
                self._leave(today, start + DAY_MS)
            yield today

    def _drifted(self, start: int) -> bool:
        drift_from = self._config.drift_from_ms
        return drift_from is not None and start >= drift_from

    def _compromise(self, start: int) -> None:
        """Choose the terminals and cards that are compromised today."""
        rng, config = self._rng, self._config
        for _ in range(rng.poisson(config.new_compromised_terminals)):
            self._compromised_until[rng.choice(self._physical)] = start + int(rng.uniform(7, 21) * DAY_MS)
        for _ in range(rng.poisson(config.new_stolen_cards)):
            self._bursts += self._stolen_card_bursts(int(rng.integers(config.customers)), start)

    def _leave(self, today: list[Transaction], end: int) -> None:
        """Let fraudsters leave terminals that decline, each for another one and for the time that it had left."""
        declined = Counter(p.terminal_id for p in today if p.declined and p.scenario == "terminal")
        for name, declines in sorted(declined.items()):
            terminal = int(name.removeprefix("t"))
            until = self._compromised_until[terminal]
            if declines >= _DECLINES_UNTIL_LEFT and until > end:
                other = self._rng.choice(self._physical[self._compromised_until[self._physical] <= end])
                self._compromised_until[terminal], self._compromised_until[other] = end, until

    def _habitual_payments(self, start: int) -> _Payments:
        """The customers' own payments, with a few large amounts, honest or fraudulent."""
        rng, config, drifted = self._rng, self._config, self._drifted(start)
        customer = np.repeat(np.arange(config.customers), rng.poisson(self._payments_per_day))
        n = len(customer)
        # Most payments are around the middle of the day, few at night.
        time = start + (rng.normal(13.5 * HOUR_MS, 4.5 * HOUR_MS, n).astype(np.int64) % DAY_MS)
        terminal = self._near[customer, rng.integers(0, self._near.shape[1], n)]
        terminal = np.where(rng.random(n) < 0.03, rng.choice(self._physical, n), terminal)
        online = rng.random(n) < (0.35 if drifted else 0.22)
        terminal = np.where(online, rng.choice(self._online, n), terminal)
        scale = self._mean_amount[customer] * self._price_level[terminal] * (1.4 if drifted else 1.0)
        amount = rng.gamma(2.5, scale / 2.5)
        size = rng.random(n)
        stolen = size < config.large_fraud_share
        honest = (size > 1 - config.large_honest_share) & ~stolen
        amount = np.where(stolen, rng.uniform(350, 1_500, n), amount)
        amount = np.where(honest, rng.uniform(250, 1_500, n), amount)
        scenario = np.where(stolen, _LARGE, np.where(time < self._compromised_until[terminal], _TERMINAL, 0))
        device = np.where(rng.random(n) < 0.03, _NEW_DEVICE, _OWN_DEVICE)
        contactless = (amount < _CONTACTLESS_LIMIT_EUR) & (rng.random(n) < 0.7)
        return _Payments(time, customer, terminal, amount, device, scenario.astype(np.int8), contactless)

    def _cloned_payments(self, start: int) -> _Payments:
        """Payments by cloned cards at compromised terminals: of any customer, at any hour, below the PIN limit."""
        rng = self._rng
        compromised = np.flatnonzero(self._compromised_until > start)
        terminal = np.repeat(compromised, rng.poisson(self._config.cloned_payments, len(compromised)))
        n = len(terminal)
        return _Payments(
            time=start + rng.integers(0, DAY_MS, n),
            customer=rng.integers(0, self._config.customers, n),
            terminal=terminal,
            amount=rng.uniform(20, _CONTACTLESS_LIMIT_EUR, n),
            device=np.full(n, _OWN_DEVICE),
            scenario=np.full(n, _TERMINAL, dtype=np.int8),
            contactless=np.ones(n, dtype=bool),
        )

    def _stolen_card_bursts(self, customer: int, start: int) -> list[_Payments]:
        """Plan the bursts of payments with one stolen card over the next days."""
        rng, relay = self._rng, self._drifted(start)
        self._devices += 1
        bursts = []
        for begin in start + rng.uniform(0, rng.uniform(1, 4), 1 + rng.poisson(2)) * DAY_MS:
            n = int(rng.integers(3, 9))
            gaps = rng.exponential((2 if relay else 4) * MINUTE_MS, n)
            bursts.append(
                _Payments(
                    time=(begin + np.cumsum(gaps)).astype(np.int64),
                    customer=np.full(n, customer),
                    terminal=rng.choice(self._physical if relay else self._online, n),
                    amount=rng.uniform(5, 45, n) if relay else rng.gamma(4, self._mean_amount[customer] * 2 / 4, n) + 5,
                    device=np.full(n, self._devices),
                    scenario=np.full(n, _RELAY if relay else _CARD, dtype=np.int8),
                    contactless=np.full(n, relay),
                )
            )
        return bursts

    def _bursts_until(self, end: int) -> list[_Payments]:
        """Take the planned bursts that begin before ``end``; their payments after ``end`` are dropped."""
        due = [burst for burst in self._bursts if burst.time[0] < end]
        self._bursts = [burst for burst in self._bursts if burst.time[0] >= end]
        return [_Payments(*(getattr(b, name)[b.time < end] for name in _Payments.__slots__)) for b in due]

    def _transactions(self, day: _Payments) -> list[Transaction]:
        second_card = self._rng.random(len(day.time)) < 0.3
        rows = []
        columns = (getattr(day, name).tolist() for name in _Payments.__slots__)
        for (time, customer, terminal, eur, device, scenario, contactless), second in zip(
            zip(*columns, strict=True), second_card.tolist(), strict=True
        ):
            country = COUNTRIES[self._country[terminal]]
            currency = CURRENCY[country]
            online = terminal >= self._online[0]
            rows.append(
                Transaction(
                    time_ms=time,
                    # Only the customer's first card is stolen.
                    card_id=self._cards[customer][second and scenario < _CARD],
                    customer_id=f"c{customer:05d}",
                    cardholder_name=self._name[customer] if customer % 10 else None,
                    terminal_id=f"t{terminal:04d}",
                    amount=max(0.5, round(eur / EUR_PER[currency], 2)),
                    currency=currency,
                    channel="online" if online else "contactless" if contactless else "chip",
                    country=country,
                    home_country=COUNTRIES[self._home_country[customer]],
                    device_id=self._device(customer, device) if online else None,
                    scenario=_SCENARIOS[scenario],
                )
            )
        return rows

    def _device(self, customer: int, device: int) -> str:
        if device == _OWN_DEVICE:
            return f"d{customer:05d}"
        if device == _NEW_DEVICE:
            self._devices += 1
            device = self._devices
        return f"n{device:06d}"
