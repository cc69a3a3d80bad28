"""Ads: will this impression be clicked within half an hour?

Impressions are scored. Clicks and conversions come on topics of their own and only update the windows of the user, of
the user and the campaign, of the slot, of the campaign and of the creative. All of them name all of these, as the link
behind an ad does. The events come from :mod:`examples.ads.delivery`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from penstock import (
    ENTITY,
    EVENT_ID,
    EVENT_TIME,
    PII_HASH,
    Contract,
    Derived,
    Entity,
    Guardrail,
    Labels,
    Model,
    Monitors,
    Pipeline,
    Rollout,
    Source,
    View,
    approx_distinct,
    count,
    last,
    mean,
    session_count,
    sum_,
    time_since_last,
    time_since_previous,
)

Id = Annotated[str, Field(min_length=1, max_length=40)]
User = Annotated[str, ENTITY, PII_HASH, Field(min_length=1, max_length=64, description="cookie or device id")]
Site = Annotated[str, ENTITY, Field(pattern="^s[0-9]{2}$")]
Position = Literal["top", "infeed", "side", "bottom"]
Campaign = Annotated[str, ENTITY, Field(pattern="^k[0-9]{3}$")]
Creative = Annotated[str, ENTITY, Field(min_length=1, max_length=20)]
Time = Annotated[int, EVENT_TIME, Field(ge=946_684_800_000, description="from the year 2000 on")]
Price = Annotated[float, Field(ge=0, lt=10_000, description="dollars for a thousand impressions")]


class Impression(Contract, name="ad_impression", version=1):
    """An ad that won the auction for a slot and was shown."""

    impression_id: Annotated[Id, EVENT_ID]
    event_time: Time
    user_id: User
    site_id: Site
    position: Position
    campaign_id: Campaign
    creative_id: Creative
    device: Literal["desktop", "mobile", "tablet"]
    bid_price: Price
    floor_price: Price
    paid_price: Price
    daily_budget: Annotated[float, Field(gt=0, description="of the campaign, dollars")]


class Click(Contract, name="ad_click", version=1):
    """A click on an ad. A second click on the same impression has the same id."""

    click_id: Annotated[Id, EVENT_ID]
    clicked_at: Time
    impression_id: Id
    user_id: User
    site_id: Site
    position: Position
    campaign_id: Campaign
    creative_id: Creative


class Conversion(Contract, name="ad_conversion", version=1):
    """An order at an advertiser's shop, attributed to an impression; it may come days after the click."""

    conversion_id: Annotated[Id, EVENT_ID]
    converted_at: Time
    impression_id: Id
    user_id: User
    site_id: Site
    position: Position
    campaign_id: Campaign
    creative_id: Creative
    order_value: Annotated[float, Field(gt=0, lt=1_000_000, description="dollars")]


class ClickLabel(Contract, name="click_label", version=1):
    """An impression was clicked. Nobody says that one was not: after the horizon, no label says so."""

    impression_id: Annotated[Id, EVENT_ID]
    label_time: Time
    is_clicked: bool


user = Entity(name="user", key="user_id")
pair = Entity(name="user_campaign", key=("user_id", "campaign_id"))
slot = Entity(name="slot", key="slot")
campaign = Entity(name="campaign", key="campaign_id")
creative = Entity(name="creative", key="creative_id")

SHOWN = "event__type = 'ad_impression'"
CLICKED = "event__type = 'ad_click'"
CONVERTED = "event__type = 'ad_conversion'"

derived = {
    "slot": Derived(sql="site_id || '-' || position", type="string"),
    "place": Derived(
        sql="CASE position WHEN 'top' THEN 1e0 WHEN 'infeed' THEN 2e0 WHEN 'side' THEN 3e0 ELSE 4e0 END",
        type="double",
    ),
    "is_mobile": Derived(sql="CASE WHEN device = 'mobile' THEN 1e0 ELSE 0e0 END", type="double"),
    "hour_of_day": Derived(sql="FLOOR(MOD(event_time, 86400000) / 3600000e0)", type="double"),
    "over_floor": Derived(sql="bid_price - floor_price", type="double"),
    "cost": Derived(sql="paid_price / 1000e0", type="double"),
}


def click_rate(window: str) -> Derived:
    """The click rate of a window: 7 clicks of 100 impressions are added, so that few impressions say little."""
    return Derived(sql=f"(clicks_{window} + 7) / (shown_{window} + 100)", type="double")


user_activity = View(
    name="user_activity",
    version=1,
    entity=user,
    aggregates=(
        count(where=SHOWN, name="shown", over=("1h", "24h", "7d")),
        count(where=CLICKED, name="clicks", over=("1h", "24h", "7d")),
        count(where=CONVERTED, name="conversions", over="7d"),
        approx_distinct("campaign_id", where=SHOWN, name="campaigns", over="24h"),
        session_count(gap="30m", where=SHOWN, name="sessions", over="7d"),
        time_since_previous(where=SHOWN, name="since_shown", over="7d"),
        time_since_last(where=CLICKED, name="since_click", over="7d"),
    ),
    derived={"click_rate_7d": click_rate("7d")},
)

# Frequency: how often has this user seen this campaign? An ad server that caps reads it before it bids.
user_campaign = View(
    name="user_campaign",
    version=1,
    entity=pair,
    aggregates=(
        count(where=SHOWN, name="shown", over=("1h", "24h", "7d")),
        count(where=CLICKED, name="clicks", over=("24h", "7d")),
        time_since_previous(where=SHOWN, name="since_shown", over="7d"),
    ),
)

slot_clicks = View(
    name="slot_clicks",
    version=1,
    entity=slot,
    aggregates=(
        count(where=SHOWN, name="shown", over=("24h", "7d")),
        count(where=CLICKED, name="clicks", over=("24h", "7d")),
    ),
    derived={"click_rate_24h": click_rate("24h"), "click_rate_7d": click_rate("7d")},
)

campaign_delivery = View(
    name="campaign_delivery",
    version=1,
    entity=campaign,
    aggregates=(
        count(where=SHOWN, name="shown", over="7d"),
        count(where=CLICKED, name="clicks", over="7d"),
        count(where=CONVERTED, name="conversions", over="7d"),
        sum_("cost", over=("1h", "24h")),
        sum_("order_value", over="7d"),
        mean("bid_price", over="24h"),
        last("daily_budget", name="budget", over="24h"),
    ),
    derived={
        "click_rate_7d": click_rate("7d"),
        # 1: as the budget wants. The last hour, times 24, beside a whole day's budget. Nothing spent is a pace of 0.
        "pace_1h": Derived(sql="24 * COALESCE(cost_sum_1h, 0e0) / budget_24h", type="double"),
        "spent_24h": Derived(sql="COALESCE(cost_sum_24h, 0e0) / budget_24h", type="double"),
    },
)

creative_clicks = View(
    name="creative_clicks",
    version=1,
    entity=creative,
    aggregates=(
        count(where=SHOWN, name="shown", over=("24h", "7d")),
        count(where=CLICKED, name="clicks", over=("24h", "7d")),
        count(where=CONVERTED, name="conversions", over="7d"),
    ),
    derived={"click_rate_24h": click_rate("24h"), "click_rate_7d": click_rate("7d")},
)

topics = {"key": "user_id", "partitions": 4}
pipeline = Pipeline(
    name="ads",
    source=Source(topic="events.impressions", contract=Impression, **topics),
    additional_sources=(
        # Somebody who clicks again half a day later clicks the same ad.
        Source(topic="events.clicks", contract=Click, triggers=False, dedup_horizon="24h", **topics),
        Source(topic="events.conversions", contract=Conversion, triggers=False, **topics),
    ),
    entities=(user, pair, slot, campaign, creative),
    derived=derived,
    views=(user_activity, user_campaign, slot_clicks, campaign_delivery, creative_clicks),
    model=Model(
        name="ads",
        inputs=(
            "event.place",
            "event.is_mobile",
            "event.hour_of_day",
            "event.bid_price",
            "event.over_floor",
            *user_activity.inputs(),
            *user_campaign.inputs(),
            *slot_clicks.inputs(),
            *campaign_delivery.inputs(),
            *creative_clicks.inputs(),
        ),
        # A campaign of less than one click in fifty impressions is to rest for this user.
        threshold=0.02,
        positive="keep",
        negative="rest",
        groups=("event.device",),
    ),
    labels=Labels(
        topic="labels.clicks",
        contract=ClickLabel,
        value="is_clicked",
        horizon="30m",
        absent="negative",  # only clicks are published
    ),
    passthrough=("device", "position"),
    monitors=Monitors(
        inputs=(
            "event.place",
            "event.is_mobile",
            "event.bid_price",
            "event.over_floor",
            "user_campaign.shown_24h",
            "slot_clicks.click_rate_24h",
            "campaign_delivery.pace_1h",
            "creative_clicks.click_rate_24h",
        ),
        # About a day of impressions, so that differences between hours do not count as drift.
        window=2_000,
        false_alarm_every=100_000,
    ),
    rollout=Rollout(
        guardrails=(
            Guardrail(measure="errors", absolute=(0, 0.05), awaited=True),
            Guardrail(measure="latency", relative=(0, 3)),
        ),
        loss="log",
        # A user is alike within a session, and not much from one session to the next.
        entity_again="1h",
        # A played day lasts for seconds: not only one call in each of them counts.
        together="20ms",
    ),
)
