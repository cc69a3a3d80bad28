"""What an ad server makes of the vectors in Redis: it caps, and it draws a creative."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from examples.ads.serving import below_cap, draw_creative
from penstock.online import OnlineFeatures


class Stored:
    """Answers like the online store, from counts; what it does not know reads as empty."""

    def __init__(self, shown: Mapping[str, int] | None = None, clicks: Mapping[str, int] | None = None) -> None:
        self._shown, self._clicks = shown or {}, clicks or {}
        self.reads = 0

    def entity(self, _view: str, *values: str) -> str:
        return "|".join((f"hash of {values[0]}", *values[1:]))

    def get_columns(self, entities: Mapping[str, Sequence[str]], _at_ms: int | None) -> dict[str, Any]:
        self.reads += 1
        ((view, names),) = entities.items()
        counts = {"shown_24h": self._shown, "shown_7d": self._shown, "clicks_7d": self._clicks}
        return {f"{view}.{name}": np.array([of.get(n, 0) for n in names], float) for name, of in counts.items()}


def test_a_campaign_rests_for_who_has_seen_it_as_often_as_the_cap_says() -> None:
    stored = Stored(shown={"hash of u1|k001": 6, "hash of u1|k002": 5, "hash of u2|k003": 9})
    assert below_cap(cast("OnlineFeatures", stored), "u1", ["k001", "k002", "k003"]) == ["k002", "k003"]
    assert stored.reads == 1


def test_the_creative_that_is_clicked_more_is_drawn_nearly_always_and_a_new_one_gets_its_chance() -> None:
    stored = Stored(shown={"a": 1_000, "b": 1_000, "c": 1}, clicks={"a": 20, "b": 90, "c": 2})
    rng = np.random.default_rng(1)
    assert {draw_creative(cast("OnlineFeatures", stored), ["a", "b"], rng) for _ in range(50)} == {"b"}
    drawn = Counter(draw_creative(cast("OnlineFeatures", stored), ["a", "b", "new"], rng) for _ in range(300))
    assert drawn["a"] == 0
    assert drawn["new"] > drawn["b"] > 0


def test_more_clicks_than_impressions_in_a_window_are_no_error() -> None:
    stored = Stored(shown={"a": 1}, clicks={"a": 2})
    assert draw_creative(cast("OnlineFeatures", stored), ["a"], np.random.default_rng(1)) == "a"
