"""Simulates an ad server: auctions for the slots of pages, and what users do with the ads that they are shown.

Code and parameters are our own; no figure here is of a real market. Users come in sessions of a few pages, and each
slot of a page is auctioned. A campaign takes part unless

- it has shown its ad to the user as often in the last 24 hours as the *frequency cap* allows, or
- it has spent its day's budget as far as the day has come (even *pacing*).

Of the winner's creatives, Thompson sampling over their impressions and clicks so far draws one.

The probability of a click is a product of what an impression shows (position, device) and what only windows can know:
how good the site, the creative and the user are, how well campaign and user go together, whether this is one of the
user's few sessions in which they look at ads at all, and *fatigue*: each impression of the campaign that the user has
seen in the last 24 hours lowers it. A part of the clicks converts, some within hours, others days later.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
START_MS = 1_767_225_600_000
"""2026-01-01T00:00Z, when the simulation begins."""

POSITIONS = ("top", "infeed", "side", "bottom")
DEVICES = ("desktop", "mobile", "tablet")
_TOPICS = 4
_CLICKS_BY_POSITION = (1.0, 0.6, 0.35, 0.2)
_SHARE_OF_PAGES_WITH = (1.0, 0.8, 0.5, 0.4)
_FLOOR_BY_POSITION = (0.9, 0.6, 0.4, 0.2)
_CLICKS_BY_DEVICE = (1.0, 1.3, 0.9)
_SIDE = POSITIONS.index("side")
_MOBILE = DEVICES.index("mobile")


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """The size of the world and its rules.

    The defaults give about 2,100 impressions a day, of which 7 % are clicked: more than in any real market, so that a
    week is enough to learn from. There must be two campaigns.

    ``cap`` is how often a user sees a campaign within 24 hours at most. ``fatigue`` is the factor of the probability of
    a click for each of these impressions. ``click_rate`` is the probability of a click at the top of a desktop page,
    all else being average, and ``conversion_rate`` that of a conversion after a click.
    """

    users: int = 250
    sites: int = 8
    campaigns: int = 12
    creatives: int = 3
    sessions_per_day: float = 1.2
    cap: int = 6
    fatigue: float = 0.75
    click_rate: float = 0.08
    conversion_rate: float = 0.15


@dataclass(frozen=True, slots=True)
class Impression:
    """An ad that was shown, and what the user did then.

    Prices are dollars for a thousand impressions, budget and order value dollars. ``clicked_ms`` and ``converted_ms``
    are None if nothing of the kind ever happens.
    """

    time_ms: int
    user: int
    site: int
    position: str
    campaign: int
    creative: int
    device: str
    bid_price: float
    floor_price: float
    paid_price: float
    daily_budget: float
    clicked_ms: int | None
    converted_ms: int | None
    order_value: float | None


class Bandit:
    """Thompson sampling over the creatives of each campaign, from a uniform prior; a click counts when it comes."""

    def __init__(self, campaigns: int, creatives: int) -> None:
        self.shown = np.zeros((campaigns, creatives))
        self.clicks = np.zeros((campaigns, creatives))
        self._coming: list[tuple[int, int, int]] = []

    def choose(self, campaign: int, time_ms: int, rng: np.random.Generator) -> int:
        """The creative to show: that with the highest click rate, drawn from what is known of each by now."""
        while self._coming and self._coming[0][0] <= time_ms:
            _, of, creative = heapq.heappop(self._coming)
            self.clicks[of, creative] += 1
        clicks, shown = self.clicks[campaign], self.shown[campaign]
        return int(np.argmax(rng.beta(1 + clicks, 1 + shown - clicks)))

    def was_shown(self, campaign: int, creative: int, clicked_ms: int | None) -> None:
        """Count an impression, and its click for the time at which it comes."""
        self.shown[campaign, creative] += 1
        if clicked_ms is not None:
            heapq.heappush(self._coming, (clicked_ms, campaign, creative))


@dataclass(frozen=True, slots=True)
class _Visit:
    """A page that a user opens."""

    time_ms: int
    user: int
    site: int
    attention: float


class World:
    """Simulates one day at a time; the same seed and configuration give the same days."""

    def __init__(self, seed: int, config: WorldConfig) -> None:
        self._rng = rng = np.random.default_rng([seed, 2])
        self._config = config
        n, c = config.users, config.campaigns
        self._interest = rng.dirichlet(np.full(_TOPICS, 0.6), n) * _TOPICS
        self._readiness = rng.lognormal(0, 0.5, n)
        self._activity = rng.gamma(2, config.sessions_per_day / 2, n)
        self._device = rng.choice(len(DEVICES), n, p=(0.4, 0.5, 0.1))
        self._site_topic = np.arange(config.sites) % _TOPICS
        self._site_level = rng.lognormal(0, 0.3, config.sites)
        self._campaign_topic = np.arange(c) % _TOPICS
        self._bid = rng.uniform(1.0, 4.0, c)
        self._budget = np.round(rng.uniform(0.15, 0.9, c), 2)
        self._conversion = rng.uniform(0.5, 1.5, c)
        self._order = rng.uniform(15, 120, c)
        self.creative_quality: NDArray[np.float64] = rng.lognormal(0, 0.6, (c, config.creatives))
        """Of each campaign and creative, the factor of the probability of a click."""
        self._bandit = Bandit(c, config.creatives)
        self._spent = np.zeros(c)
        self._seen: dict[tuple[int, int], deque[int]] = {}

    def days(self) -> Iterator[list[Impression]]:
        """Yield the impressions of each day in order of their time, without end."""
        for start in count(START_MS, DAY_MS):
            self._spent[:] = 0
            shown = (self._auction(visit, position) for visit in self._visits(start) for position in self._slots(visit))
            yield [impression for impression in shown if impression is not None]

    def _visits(self, start: int) -> list[_Visit]:
        """The pages that users open on a day, in order of time."""
        rng, visits = self._rng, []
        for user in np.repeat(np.arange(self._config.users), rng.poisson(self._activity)).tolist():
            # Most sessions are in the afternoon. Pages after midnight are not opened.
            begin = start + int(rng.normal(15 * HOUR_MS, 4.5 * HOUR_MS)) % DAY_MS
            taste = self._interest[user][self._site_topic] + 0.2
            # In one session of four a user looks at ads.
            attention = 2.8 if rng.random() < 0.25 else 0.4
            for gap in np.cumsum(rng.exponential(50 * SECOND_MS, 1 + rng.poisson(2))).astype(int).tolist():
                if begin + gap < start + DAY_MS:
                    site = int(rng.choice(self._config.sites, p=taste / taste.sum()))
                    visits.append(_Visit(begin + gap, user, site, attention))
        return sorted(visits, key=lambda visit: (visit.time_ms, visit.user))

    def _slots(self, visit: _Visit) -> list[int]:
        """The positions with a slot on a page; a mobile page has no side."""
        has = self._rng.random(len(POSITIONS)) < _SHARE_OF_PAGES_WITH
        has[_SIDE] &= self._device[visit.user] != _MOBILE
        return np.flatnonzero(has).tolist()

    def _auction(self, visit: _Visit, position: int) -> Impression | None:
        """Sell a slot to the highest bidder for the second price; None if nobody bids as much as the floor."""
        rng, time = self._rng, visit.time_ms
        bids = self._bid * rng.lognormal(0, 0.3, len(self._bid))
        bids *= np.where(self._campaign_topic == self._site_topic[visit.site], 1.5, 1.0)
        bids[[self._times_seen(visit.user, c, time) >= self._config.cap for c in range(len(bids))]] = 0
        bids[self._spent >= self._budget * ((time % DAY_MS) / DAY_MS)] = 0
        floor = _FLOOR_BY_POSITION[position]
        second, winner = np.argsort(bids)[-2:].tolist()
        if bids[winner] < floor:
            return None
        paid = max(floor, float(bids[second]))
        self._spent[winner] += paid / 1_000
        return self._show(visit, position, winner, (float(bids[winner]), floor, paid))

    def _show(self, visit: _Visit, position: int, campaign: int, prices: tuple[float, ...]) -> Impression:
        rng, time, user = self._rng, visit.time_ms, visit.user
        creative = self._bandit.choose(campaign, time, rng)
        device = int(self._device[user])
        chance = (
            self._config.click_rate
            * _CLICKS_BY_POSITION[position]
            * _CLICKS_BY_DEVICE[device]
            * self._site_level[visit.site]
            * self.creative_quality[campaign, creative]
            * (0.3 + 0.7 * self._interest[user, self._campaign_topic[campaign]])
            * self._readiness[user]
            * visit.attention
            * self._config.fatigue ** self._times_seen(user, campaign, time)
        )
        clicked = time + _click_delay(rng) if rng.random() < min(chance, 0.7) else None
        self._bandit.was_shown(campaign, creative, clicked)
        self._seen.setdefault((user, campaign), deque()).append(time)
        converts = clicked is not None and rng.random() < self._config.conversion_rate * self._conversion[campaign]
        bid, floor, paid = (round(price, 4) for price in prices)
        return Impression(
            time_ms=time,
            user=user,
            site=visit.site,
            position=POSITIONS[position],
            campaign=campaign,
            creative=creative,
            device=DEVICES[device],
            bid_price=bid,
            floor_price=floor,
            paid_price=paid,
            daily_budget=float(self._budget[campaign]),
            clicked_ms=clicked,
            converted_ms=clicked + _conversion_delay(rng) if converts and clicked is not None else None,
            order_value=round(float(rng.gamma(4, self._order[campaign] / 4)), 2) if converts else None,
        )

    def _times_seen(self, user: int, campaign: int, time_ms: int) -> int:
        seen = self._seen.get((user, campaign))
        while seen and seen[0] <= time_ms - DAY_MS:
            seen.popleft()
        return len(seen or ())


def _click_delay(rng: np.random.Generator) -> int:
    """Mostly some seconds; of one click in ten, a tab that was left open: half an hour and more is possible."""
    return SECOND_MS + int(rng.exponential(20 * MINUTE_MS if rng.random() < 0.1 else 20 * SECOND_MS))


def _conversion_delay(rng: np.random.Generator) -> int:
    """From the click: of three conversions, two within hours, and one after days; a fortnight at most."""
    delay = rng.exponential(4 * DAY_MS if rng.random() < 1 / 3 else 2 * HOUR_MS)
    return MINUTE_MS + int(min(delay, 14 * DAY_MS))


def as_facts(impression: Impression) -> dict[str, Any]:
    """What impression, click and conversion have in common, as their contracts name it."""
    campaign = f"k{impression.campaign:03d}"
    return {
        "user_id": f"u{impression.user:06d}",
        "site_id": f"s{impression.site:02d}",
        "position": impression.position,
        "campaign_id": campaign,
        "creative_id": f"{campaign}-{impression.creative}",
    }
