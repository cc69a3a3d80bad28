"""The top reasons of a score are the inputs that pushed it up."""

from __future__ import annotations

import numpy as np

from scoring.attribution import explain
from scoring.reasons import Attribution
from tests.scoring.trees import Split, Tree, model_of, regressor


def pushing(*by: float) -> Attribution:
    """A model to which each input that is high adds a number; its base is half of their sum."""
    trees: list[Tree] = [Split(place, 5.0, 0.0, number) for place, number in enumerate(by)]
    found = explain(model_of([regressor(trees)], len(by)), vectors([0] * len(by), [9] * len(by)))
    assert isinstance(found, Attribution)
    return found


def vectors(*rows: list[float]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_the_reasons_are_the_inputs_that_pushed_the_score_up_the_greatest_first() -> None:
    up, down = pushing(2.0, 8.0, -6.0, 4.0).top(vectors([9] * 4, [0] * 4))
    assert up == (("view.f1", 4.0), ("view.f3", 2.0), ("view.f0", 1.0))
    assert down == (("view.f2", 3.0),)


def test_there_are_as_many_reasons_as_asked_for_and_none_without_rows() -> None:
    found = pushing(2.0, 8.0, 4.0)
    assert [len(found.top(vectors([9] * 3), count)[0]) for count in (1, 2, 5)] == [1, 2, 3]
    assert found.top(np.empty((0, 3), np.float32)) == []


def test_of_equal_contributions_the_earlier_input_comes_first() -> None:
    # numpy's other sorts keep the order of a few.
    found = pushing(*(2.0 if place % 3 else 1.0 for place in range(40)))
    assert [one.input for one in found.top(vectors([9] * 40))[0]] == ["view.f1", "view.f2", "view.f4"]
