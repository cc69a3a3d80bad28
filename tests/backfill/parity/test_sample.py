"""A sample of entities."""

from __future__ import annotations

import pytest

from backfill.parity.sample import Sample


def test_a_sample_takes_about_its_share_and_the_same_entities_each_time() -> None:
    chosen, again, other = Sample(8).chosen(), Sample(8).chosen(), Sample(8, seed=2).chosen()
    entities = [f"card{number}" for number in range(4_000)]
    taken = [entity for entity in entities if chosen("card", entity)]
    assert 400 < len(taken) < 600
    assert taken == [entity for entity in entities if again("card", entity)]
    assert taken != [entity for entity in entities if other("card", entity)]
    assert taken != [entity for entity in entities if chosen("terminal", entity)]


def test_the_whole_takes_everything() -> None:
    assert Sample().chosen()("card", "\ud800")


@pytest.mark.parametrize("text", ["64", "1/0", "2/64", "0.5", "1/-4", "", "1/64 "])
def test_another_share_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 1/64"):
        Sample.parse(text)
