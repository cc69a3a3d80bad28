"""Inference with a cascade, against one event at a time."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoring.audit import audit_salt
from scoring.cascade import Band
from scoring.cascade_inference import CascadeInference, CascadeRule
from scoring.inference import Inference
from scoring.model_metadata import ModelMetadata
from tests.scoring.fake_server import FakeServer

LOW, HIGH, AUDIT = 0.25, 0.5, 0.3


def inference(name: str, primary: FakeServer, fallback: FakeServer) -> Inference:
    model = ModelMetadata(name, 1, ("event.amount",), {}, 4096)
    return Inference(primary, fallback, model, deadline_s=1, clock=lambda: 0.0, on_fallback=lambda _: None)


def cascade(fast: FakeServer | None = None, strong: FakeServer | None = None) -> CascadeInference:
    fast, strong = fast or FakeServer("Triton"), strong or FakeServer("Triton", added=0.125)
    return CascadeInference(
        inference("fast", fast, fast),
        inference("strong", strong, strong),
        CascadeRule(Band(LOW, HIGH), AUDIT, audit_salt("p")),
    )


def infer(some: CascadeInference, values: list[float]) -> Any:
    return some.infer(np.array(values, np.float32).reshape(-1, 1), lambda: [f"id{n}" for n in range(len(values))])


def is_in_slice(n: int) -> bool:
    digest = hashlib.sha256(f"p/audit\x1fid{n}".encode()).digest()
    return int.from_bytes(digest, "big") / 2**256 < AUDIT


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 13.0]), max_size=40))
def test_the_strong_model_scores_the_band_and_the_slice_and_decides_the_band(values: list[float]) -> None:
    strong = FakeServer("Triton", added=0.125)
    scores = infer(cascade(strong=strong), values)
    in_band = [LOW <= value < HIGH for value in values]
    audited = [not inside and is_in_slice(n) for n, inside in enumerate(in_band)]
    both = zip(values, in_band, strict=True)
    assert scores.values.tolist() == [value + 0.125 * inside for value, inside in both]
    assert scores.cascade.fast.tolist() == values
    assert scores.cascade.in_band.tolist() == in_band
    assert scores.cascade.audited.tolist() == audited
    asked = [value + 0.125 for value, *either in zip(values, in_band, audited, strict=True) if any(either)]
    assert scores.cascade.strong[~np.isnan(scores.cascade.strong)].tolist() == asked
    assert sum(rows for _, _, rows, _ in strong.calls) == len(asked)


def test_each_model_has_a_breaker_of_its_own() -> None:
    fast, copy = FakeServer("Triton", infers=False), FakeServer("the copy")
    strong = FakeServer("Triton", added=0.125)
    rule = CascadeRule(Band(LOW, HIGH), 0.0, "s")
    some = CascadeInference(inference("fast", fast, copy), inference("strong", strong, strong), rule)
    for _ in range(10):
        scores = infer(some, [0.0, 0.375])
    assert scores.routes() == ["fallback", "primary"]
    assert len(fast.calls) < 10 == len(strong.calls)


@pytest.mark.parametrize(("value", "has_score"), [(0.375, False), (0.75, True)])
def test_a_strong_model_without_a_number_fails_the_band_and_leaves_clear_cases_their_score(
    value: float, has_score: bool
) -> None:
    strong = FakeServer("Triton", numberless=(value,))
    scores = infer(cascade(strong=strong), [value] * 20)
    assert scores.finite.tolist() == [has_score] * 20
    assert scores.cascade.audited.any() == has_score
    assert np.isnan(scores.cascade.strong).all()


def test_an_event_without_a_fast_score_has_none_and_the_strong_model_is_not_asked() -> None:
    strong = FakeServer("Triton")
    scores = infer(cascade(fast=FakeServer("Triton", numberless=(0.375,)), strong=strong), [0.375] * 20)
    assert not scores.finite.any()
    assert strong.calls == []


def test_a_row_on_which_the_strong_model_fails_is_marked_and_the_others_are_scored() -> None:
    scores = infer(cascade(strong=FakeServer("Triton", refused_value=0.375)), [0.25, 0.375, 0.0])
    assert scores.failed.tolist() == [False, True, False]
    assert scores.finite.tolist() == [True, False, True]
