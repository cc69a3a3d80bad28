"""The verifier's fast engine against the naive oracle: random definitions and events."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.definitions.aggregates.spec import SPECS
from streams.oracle.reference import Timed, agrees, timer_as_of, timer_features, tolerance, vector
from streams.plan.model import ViewPlan
from tests.plans import make_plan, view_of
from tests.streams.kernel.test_semantics import FIELDS, FILTERS, features, rows
from verify import window_engine
from verify.window_engine import ChainValues

CASES = settings(max_examples=600, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def views(draw: st.DrawFn) -> ViewPlan:
    found: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        found.append(draw(features(f"f{number}", found)))
    return make_plan(fields=FIELDS, views=[view_of(*found)], filters=FILTERS).views[0]


@CASES
@given(view=views(), events=rows(), delay=st.sampled_from([1, 9, 60, 500, 12_000]))
def test_the_engine_computes_what_the_oracle_does_for_timers(
    view: ViewPlan, events: list[dict[str, Any]], delay: int
) -> None:
    chain = [Timed(event["time"], event) for event in events]
    times = [min(max(event.time for event in chain[: index + 1]) + delay, 2**63 - 1) for index in range(len(chain))]
    values = ChainValues(view, chain, range(len(chain)), times)
    for feature in view.features:
        found = values.expected(feature)
        for index, time in enumerate(times):
            history = chain[: index + 1]
            allowed = tolerance(feature, history, timer_as_of(feature, history, time))
            wanted = timer_features(view, history, time)[feature.name]
            assert agrees(found.values[index], wanted, allowed), f"{feature} at {index}"


@CASES
@given(view=views(), events=rows(), data=st.data())
def test_the_engine_computes_what_the_oracle_does(
    view: ViewPlan, events: list[dict[str, Any]], data: st.DataObject
) -> None:
    chain = [Timed(event["time"], event) for event in events]
    indexes = sorted(data.draw(st.sets(st.integers(0, len(chain) - 1))))
    values = ChainValues(view, chain, indexes)
    oracle = [vector(view, chain[: index + 1]) for index in indexes]
    assert values.as_of == [one.as_of for one in oracle]
    assert values.late() == [one.late for one in oracle]
    for feature in view.features:
        found = values.expected(feature)
        for place, index in enumerate(indexes):
            allowed = tolerance(feature, chain[: index + 1], oracle[place].as_of)
            got, wanted = found.values[place], oracle[place].features[feature.name]
            assert agrees(got, wanted, allowed), f"{feature} at {index}: {got!r}, oracle {wanted!r}"
            assert found.allowed[place] <= allowed * 1.001 or got == wanted, f"{feature} at {index}: tolerance"


def test_windows_that_do_not_fit_one_block_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("sum", "std", "last", "distinct")
    window = {"column": "x", "column_type": "double", "where": None, "window_ms": 1_000, "hop_ms": 10}
    found = [{"name": name, "operation": name, "type": SPECS[name].type, "bound": 50, **window} for name in names]
    for feature in found:
        feature["type"] = feature["type"].replace("column", "double")
    view = make_plan(fields=FIELDS, views=[view_of(*found)]).views[0]
    times = [10_000, 10_100, 9_400, 10_900, 9_950, 11_300, 10_250, 12_000, 11_990]  # some are out when they arrive
    chain = [Timed(time, {"time": time, "k": "e", "x": float(n)}) for n, time in enumerate(times)]
    at_once = [ChainValues(view, chain, range(len(chain))).expected(feature) for feature in view.features]
    monkeypatch.setattr(window_engine, "_BLOCK", 2)
    in_blocks = [ChainValues(view, chain, range(len(chain))).expected(feature) for feature in view.features]
    assert in_blocks == at_once
    assert at_once[0].values == [0.0, 1.0, 3.0, 4.0, 8.0, 8.0, 8.0, 12.0, 20.0]
