"""The verifier's fast engine against the naive oracle: random definitions and events."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.oracle.reference import Timed, agrees, timer_as_of, timer_features, tolerance, vector
from streams.plan.model import ViewPlan
from tests.plans import make_plan, view_of
from tests.streams.kernel.test_semantics import FIELDS, FILTERS, features, rows
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
