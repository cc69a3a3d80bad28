"""What an ad server asks Redis before it bids: which campaigns may this user see, and which creative should it show?

The vectors are as of the newest event of the user and campaign, or of the creative. Until the windows of a day have
moved past it, an idle pair's count stays what it was: so a campaign may rest longer than the cap says. It rests too
little only while events are on their way: a read is no reservation, and two auctions for one user at the same moment
see the same count.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.online import OnlineFeatures


def below_cap(
    features: OnlineFeatures, user_id: str, campaigns: Sequence[str], cap: int = 6, at_ms: int | None = None
) -> list[str]:
    """Those of the campaigns that the user has seen less than ``cap`` times in 24 hours; one read for all of them.

    ``at_ms`` is event time in epoch ms, now by default. The user's id is personal data and needs the pipeline's key.
    """
    pairs = [features.entity("user_campaign", user_id, campaign) for campaign in campaigns]
    shown = features.get_columns({"user_campaign": pairs}, at_ms)["user_campaign.shown_24h"]
    return [campaign for campaign, times in zip(campaigns, shown, strict=True) if times < cap]


def draw_creative(
    features: OnlineFeatures, creatives: Sequence[str], rng: np.random.Generator, at_ms: int | None = None
) -> str:
    """Thompson sampling: the creative with the highest click rate, drawn from what a week says of each."""
    columns = features.get_columns({"creative_clicks": creatives}, at_ms)
    shown, clicks = columns["creative_clicks.shown_7d"], columns["creative_clicks.clicks_7d"]
    # A click may be in the window, and its impression no longer.
    return creatives[int(np.argmax(rng.beta(1 + clicks, 1 + np.maximum(shown - clicks, 0))))]
