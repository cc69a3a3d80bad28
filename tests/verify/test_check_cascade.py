"""The verifier must find every way in which a cascade can go wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streams.definitions.cascade import Cascade
from streams.definitions.pipeline import Model
from verify.check_cascade import CascadeFindings, check_cascade, chosen_bands, in_audit_slice, routes
from verify.hosted import CannotBeAsked, Scorer
from verify.published import Published

MODEL = Model(
    name="fast",
    inputs=("event.x",),
    threshold=0.5,
    positive="block",
    negative="approve",
    cascade=Cascade(strong="big", audit=0.5),
)
BANDS = {("1", "2"): {(0.25, 0.75)}}


def scorer_of(name: str, version: str) -> Scorer:
    assert (name, version) in (("fast", "1"), ("big", "2"))
    return lambda vectors: vectors if name == "fast" else 1 - vectors


def scored(count: int = 41) -> list[tuple[Published, npt.NDArray[np.float32]]]:
    """Right predictions of events with x = 0.0, 0.025, ..., 1.0; the strong score is 1 - x."""
    found = []
    for n in range(count):
        x = float(np.float32(n / 40))
        in_band = 0.25 <= x < 0.75
        audited = not in_band and in_audit_slice("p", f"id{n}", 0.5)
        strong = float(np.float32(1) - np.float32(x)) if in_band or audited else None
        value: dict[str, Any] = {
            "event_id": f"id{n}",
            "score": strong if in_band else x,
            "model": "big" if in_band else "fast",
            "model_version": "2" if in_band else "1",
            "cascade": {
                "fast_version": "1",
                "strong_version": "2",
                "fast_score": x,
                "strong_score": strong,
                "low": 0.25,
                "high": 0.75,
                "audited": audited,
            },
        }
        found.append((Published(0, n, b"a", value), np.array([x], np.float32)))
    return found


def check(some: list[tuple[Published, npt.NDArray[np.float32]]], bands: Any = BANDS) -> CascadeFindings:
    return check_cascade("p", MODEL, some, scorer_of, bands, lambda *_: 1e-5)


def test_a_right_cascade_holds_and_its_regret_is_counted() -> None:
    findings = check(scored())
    assert findings.examples == []
    assert (findings.predictions, findings.by_strong) == (41, 20)
    assert findings.audited == findings.differing > 5  # of clear cases, 1 - x decides the contrary each time
    assert findings.unchecked == []


def row_of(audited: bool | None) -> int:
    """A prediction in the band (None), or a clear case that is audited or not."""
    ways = [prediction.value["cascade"] for prediction, _ in scored()]
    in_band = [0.25 <= way["fast_score"] < 0.75 for way in ways]
    return next(n for n, way in enumerate(ways) if in_band[n] == (audited is None) and way["audited"] == bool(audited))


@pytest.mark.parametrize(
    ("audited", "of_prediction", "of_cascade", "said"),
    [
        (None, {"model": "fast", "model_version": "1"}, {}, "decided by fast 1, should be big 2"),
        (None, {"model_version": "1"}, {}, "decided by big 1, should be big 2"),
        (False, {"model": "big", "model_version": "2"}, {}, "decided by big 2, should be fast 1"),
        (None, {"score": 0.26}, {}, "score 0.26 is not that of the model that decides"),
        (False, {}, {"fast_score": 0.3}, "decided by fast 1, should be big 2"),
        (None, {}, {"fast_score": 0.3}, "fast score 0.3, version 1 of fast says 0.25"),
        (True, {}, {"strong_score": 0.3}, "strong score 0.3, version 2 of big says"),
        (True, {}, {"strong_score": None}, "strong score None, version 2 of big says"),
        (True, {}, {"audited": False}, "audited is False, should be True"),
        (True, {}, {"audited": False, "strong_score": None}, "audited is False, should be True"),
        (False, {}, {"audited": True}, "audited is True, should be False"),
        (False, {}, {"strong_score": 0.9}, "scored a clear case that is not audited"),
        (False, {}, {"low": 0.2}, r"band \(0.2, 0.75\) was not chosen for versions 1 and 2"),
        (False, {"cascade": None}, {}, "has no cascade, the definition has one"),
    ],
)
def test_every_wrong_way_is_found(
    audited: bool | None, of_prediction: dict[str, Any], of_cascade: dict[str, Any], said: str
) -> None:
    some, row = scored(), row_of(audited)
    value = some[row][0].value
    value["cascade"] |= of_cascade
    value |= of_prediction
    findings = check(some)
    assert findings.mismatches
    assert any(re.search(said, example) for example in findings.examples), findings.examples


def test_of_shadow_predictions_it_names_their_topic() -> None:
    some = scored()
    some[0][0].value["cascade"] = None
    found = check_cascade("p", MODEL, some, scorer_of, BANDS, lambda *_: 1e-5, topic="predictions.shadow")
    assert found.examples == ["predictions.shadow[0]@0: has no cascade, the definition has one"]


def test_a_band_of_other_versions_is_none() -> None:
    assert check(scored(), {("1", "3"): {(0.25, 0.75)}}).mismatches == 41


def test_a_strong_model_without_a_number_has_no_score_of_an_audited_event() -> None:
    some, row = scored(), row_of(True)
    some[row][0].value["cascade"]["strong_score"] = None

    def numberless(name: str, version: str) -> Scorer:
        right = scorer_of(name, version)
        x = some[row][1][0]
        return lambda vectors: np.where((vectors == x) & (name == "big"), np.nan, right(vectors))

    findings = check_cascade("p", MODEL, some, numberless, BANDS, lambda *_: 1e-5)
    assert findings.examples == []


def test_a_model_that_cannot_be_asked_leaves_its_scores_unchecked() -> None:
    def scorer(name: str, version: str) -> Scorer:
        if name == "big":
            raise CannotBeAsked("Triton is down")
        return scorer_of(name, version)

    findings = check_cascade("p", MODEL, scored(), scorer, BANDS, lambda *_: 1e-5)
    assert findings.mismatches == 0
    assert findings.unchecked == [
        f"the strong scores of {findings.by_strong + findings.audited} predictions: Triton is down"
    ]


def test_bands_are_read_by_the_versions_that_they_were_chosen_for(tmp_path: Path) -> None:
    band = {
        "fast": 1,
        "strong": "big",
        "strong_version": 2,
        "low": 0.25,
        "high": 0.75,
        "threshold": 0.5,
        "bound": 0.001,
    }
    lines = [
        band,
        band | {"low": 0.5},
        band | {"strong": "other", "low": 0.0},
        band | {"threshold": 0.6, "low": 0.1},
        band | {"bound": 0.002, "low": 0.2},
    ]
    (tmp_path / "bands.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"fast": 1, "st')
    assert chosen_bands(tmp_path, MODEL) == {("1", "2"): {(0.25, 0.75), (0.5, 0.75)}}
    assert chosen_bands(tmp_path / "nowhere", MODEL) == {}
    of_any = chosen_bands(tmp_path, MODEL, of_any_policy=True)
    assert of_any == {("1", "2"): {(0.25, 0.75), (0.5, 0.75), (0.1, 0.75), (0.2, 0.75)}}


def outcomes(model: Model, bands: Any, xs: list[float], tolerance: float = 0.0) -> list[list[float]]:
    """What each way of scoring gives: the fast model gives x, version 2 of the strong one 2, version 3 gives 3."""
    strong: dict[str, Scorer] = {
        "2": lambda vectors: np.full_like(vectors[:, :1], 2),
        "3": lambda vectors: np.full_like(vectors[:, :1], 3),
    }
    ways = routes(model, {"1": lambda vectors: vectors}, strong, bands, lambda *_: tolerance)
    return [way(np.array(xs, np.float32)[:, np.newaxis])[:, 0].tolist() for way in ways]


def test_an_event_is_scored_by_the_fast_model_or_in_a_band_of_the_versions_by_the_strong_one() -> None:
    assert outcomes(MODEL, BANDS, [0, 0.25, 0.5, 0.75]) == [[0, 0.25, 0.5, 0.75], [0, 2, 2, 0.75]]


def test_a_declared_band_holds_for_every_pair_of_versions() -> None:
    model = MODEL.model_copy(update={"cascade": Cascade(strong="big", band=(0.5, 1.0))})
    assert outcomes(model, {}, [0.25, 0.5]) == [[0.25, 0.5], [0.25, 2], [0.25, 3]]


def test_at_the_edges_of_a_band_the_strong_model_may_have_decided() -> None:
    assert outcomes(MODEL, BANDS, [0.125, 0.1875, 0.75], tolerance=0.0625)[1] == [0.125, 2, 2]
