"""The kernel's windows against the oracle: random definitions and events, without a cluster."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.feature_types import FeatureValue
from streams.definitions.aggregates.lists import MAX_COUNTED_VALUES
from streams.definitions.aggregates.spec import SPECS
from streams.definitions.windows import Window
from streams.inprocess.kernel import Kernel
from streams.oracle.reference import Timed, accept_events, agrees, timer_as_of, timer_features, tolerance, vectors
from streams.plan.entity_text import composite_text
from streams.plan.model import PipelinePlan, ViewPlan
from tests.plans import make_plan, view_of

COLUMNS = {"x": "double", "n": "long", "s": "string", "b": "boolean"}
LISTS = {f"{name}s": f"{kind}[]" for name, kind in COLUMNS.items()}
EDGES = tuple(i / 10 for i in range(-50, 50))
LIFETIME = Window.of("lifetime")
CASES = settings(
    max_examples=1_000,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def features(draw: st.DrawFn, name: str, before: list[dict[str, Any]]) -> dict[str, Any]:
    spec = draw(st.sampled_from(list(SPECS.values())))
    if spec.numeric:
        column: str | None = draw(st.sampled_from(["x", "n"]))
    elif spec.needs_column:
        column = draw(st.sampled_from(list(COLUMNS)))
    else:
        column = draw(st.sampled_from([None, *COLUMNS]))
    value_type = COLUMNS[column] if column else None
    if column and not spec.depends_on_event and draw(st.integers(0, 3)) == 0:
        column = f"{column}s"
    hop = draw(st.sampled_from([1, 7, 10, 60, 100, 1_000]))
    window = hop * draw(st.integers(1, 12)) + draw(st.sampled_from([0, 0, 3]))
    if draw(st.integers(0, 7)) == 0:
        window, hop = LIFETIME.size, LIFETIME.hop
    window = {
        "where": draw(st.sampled_from([None, None, "w0", "w1"])),
        "window_ms": window,
        "hop_ms": hop,
    }
    same_window = draw(st.booleans())
    if before and same_window:
        # Aggregates of the same values in the same window share accumulators.
        window = {key: before[-1][key] for key in window}
    return {
        "name": name,
        "operation": spec.name,
        "column": column,
        "column_type": (COLUMNS | LISTS)[column] if column else None,
        **window,
        "type": spec.type.replace("column", value_type) if value_type else spec.type,
        "half_life_ms": draw(st.sampled_from([1, 40, 1_000])) if "half_life" in spec.parameters else None,
        "k": draw(st.sampled_from([1, 2, 3, 100])) if "k" in spec.parameters else None,
        "buckets": draw(st.sampled_from([(0.0,), (-0.0, 1.0, 5.0), EDGES])) if "buckets" in spec.parameters else None,
        "q": draw(st.sampled_from([0.05, 0.5, 0.95])) if "q" in spec.parameters else None,
        "bound": draw(st.sampled_from([1, 2, 50])) if "bound" in spec.parameters else None,
        "gap_ms": draw(st.sampled_from([1, 5, 59, 60, 3_000])) if "gap" in spec.parameters else None,
    }


FIELDS: list[dict[str, Any]] = [
    {"name": "id", "type": "string", "roles": ["event_id"]},
    {"name": "time", "type": "long", "roles": ["event_time"]},
    *({"name": name, "type": "string", "nullable": True} for name in ("k", "j")),
    *({"name": name, "type": kind, "nullable": True} for name, kind in COLUMNS.items()),
    *({"name": name, "type": kind, "nullable": True, "max_elements": 100} for name, kind in LISTS.items()),
]
CLICKS = {
    "topic": "clicks",
    "contract": "click",
    "fields": [{"name": "click", "type": "string"}, {"name": "clicked", "type": "long"}, *FIELDS[2:5]],
    "event_id": "click",
    "event_time": "clicked",
    "triggers": False,
}
APP = {"topic": "app"}  # of the contract of the first source
CHAINS = [
    [("e", "k")],
    [("e", "k"), ("f", "j")],
    [("f", "j")],
    [("g", "key__g")],
    [("e", "k"), ("g", "key__g"), ("f", "j"), ("h", "key__h")],
]
COMPOSITES = [{"name": "key__g", "columns": ["k", "j"]}, {"name": "key__h", "columns": ["s", "k", "b", "n"]}]
FILTERS = [{"name": name, "type": "boolean", "sql": "true"} for name in ("w0", "w1")]


@st.composite
def plans(draw: st.DrawFn) -> PipelinePlan:
    stages = []
    for entity, key in draw(st.sampled_from(CHAINS)):
        views = []
        for number in range(draw(st.integers(1, 2))):
            found: list[dict[str, Any]] = []
            for i in range(draw(st.integers(1, 5))):
                found.append(draw(features(f"f{i}", found)))
            views.append(view_of(*found, name=f"{entity}{number}", entity=entity, key=key))
        stages.append({"entity": entity, "key": key, "key_type": "string", "views": views})
    source = {"key": draw(st.sampled_from(["k", None])), "dedup_horizon_ms": draw(st.sampled_from([1, 50, 5_000]))}
    clicks = CLICKS | {"key": source["key"], "dedup_horizon_ms": 20}
    scored, app = clicks | {"triggers": True}, APP | source
    also = draw(st.sampled_from([(), (clicks,), (scored,), (app, scored), (scored, scored | {"topic": "more"}, app)]))
    return make_plan(
        fields=FIELDS, stages=stages, source=source, additional_sources=also, filters=FILTERS, composites=COMPOSITES
    )


NUMBERS = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.1, 5.0, 7.0, 3.0, 9.0, 1e15, -1e15, 1e-300]),
    st.floats(-1e6, 1e6, allow_nan=False),
)
# Where sums and differences of times leave 64 bits, or tiles of a lifetime end.
EDGES_OF_TIME = (-(2**63), -(2**62), -(2**61) - 100, 2**61 - 100, 2**62 - 5_000, 2**63 - 200_000)
# Values that a contract without bounds accepts. They make most tolerances wide, so only some examples have them.
EXTREMES = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 1.7976931348623157e308, -1.7e308, 1e200, -1e154, 1e103, 1e77]),
    st.sampled_from([5e-324, -5e-324, 2.2250738585072014e-308, 1e-160, -1e-80, 1e-75, 3e-54]),
    st.floats(allow_nan=False, allow_infinity=False),
)


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events with ties, long gaps and late times; some ids and keys are repeated."""
    clock, found = draw(st.sampled_from([0, -500, 1_772_366_400_123, *EDGES_OF_TIME])), []
    numbers = draw(st.sampled_from([NUMBERS, NUMBERS, NUMBERS, EXTREMES]))
    for number in range(draw(st.integers(1, 30))):
        clock += draw(st.sampled_from([0, 0, 1, 3, 10, 59, 60, 100, 1_000, 20_000, 20_000, 10**14]))
        late = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 15, 15, 120, 120, 3_000, 100_000, 2**63]))
        row = {
            "id": draw(st.sampled_from([f"id{number}", f"id{number}", f"id{number}", "id0", "id1"])),
            "time": max(-(2**63), min(clock - late, 2**63 - 1)),
            "k": draw(st.sampled_from(["a", "a", "a", "b", None])),
            "j": draw(st.sampled_from(["x", "x", "y", None])),
            "__source": draw(st.sampled_from([0, 0, 1, 2, 3])),
            "x": draw(st.none() | numbers),
            "n": draw(st.none() | st.integers(-(2**40), 2**40) | st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1])),
            "s": draw(st.sampled_from([None, "", "a", "|", "\\", "é", "｡", "😀"])),
            "b": draw(st.sampled_from([None, True, False])),
            "w0": draw(st.sampled_from([None, True, True, False])),
            "w1": draw(st.booleans()),
        }
        # A list has the latest values of its column, so that their number is all there is to draw.
        length = draw(st.sampled_from([None, 0, 1, 2, 5]))
        for name in COLUMNS:
            latest = [r[name] for r in [*found, row] if r[name] is not None]
            row[f"{name}s"] = None if length is None else latest[max(0, len(latest) - length) :]
        found.append(with_composites(row))
    return found


def of_sources(plan: PipelinePlan, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as events of the plan's sources: each has the columns of its own contract only."""
    if not plan.additional_sources:
        return [row | {"__source": 0} for row in rows]
    found = []
    for number, row in ((row["__source"] % len(plan.sources), row) for row in rows):
        source, row = plan.sources[number], row | {"__source": number}  # noqa: PLW2901
        own = row | {str(source.event_id): row["id"], source.event_time: row["time"]}
        names = {field.name for field in source.fields} | {"__source", "w0", "w1"}
        event = {name: value if name in names else None for name, value in own.items()}
        found.append(with_composites(event))
    return found


def are_accepted(plan: PipelinePlan, events: list[dict[str, Any]]) -> list[bool]:
    """Whether each event passes de-duplication: the topics of a contract whose events are scored share it."""
    verdicts = [False] * len(events)
    scopes = [source.contract if source.triggers else source.topic for source in plan.sources]
    for scope, source in zip(scopes, plan.sources, strict=True):
        places = [i for i, event in enumerate(events) if scopes[event["__source"]] == scope]
        ids = [
            (event[source.key] if source.key else None, event[str(source.event_id)], event[source.event_time])
            for event in (events[i] for i in places)
        ]
        for place, verdict in zip(places, accept_events(ids, source.dedup_horizon_ms), strict=True):
            verdicts[place] = verdict
    return verdicts


def with_composites(row: dict[str, Any]) -> dict[str, Any]:
    return row | {key["name"]: composite_text([row[name] for name in key["columns"]]) for key in COMPOSITES}


@CASES
@given(
    plan=plans(),
    events=rows(),
    snapshot_every=st.sampled_from([0, 1, 3]),
    delays=st.lists(st.sampled_from([1, 9, 60, 500, 12_000]), max_size=2),
)
def test_kernel_and_oracle_agree_also_with_timers_and_restored_state(
    kernel: Kernel, plan: PipelinePlan, events: list[dict[str, Any]], snapshot_every: int, delays: list[int]
) -> None:
    events = of_sources(plan, events)
    answers = kernel.features(plan.model_dump(mode="json"), events, snapshot_every, delays)
    verdicts = are_accepted(plan, events)
    assert [answer is not None for answer in answers] == verdicts
    emitted = [answer for answer in answers if answer is not None]
    times = [event[plan.sources[event["__source"]].event_time] for event in events]
    stream = [Timed(t, e) for t, e, is_new in zip(times, events, verdicts, strict=True) if is_new]
    for view in plan.views:
        seqs: dict[str, int] = {}
        histories: dict[str, list[Timed]] = {}
        for timed, oracle, answer in zip(stream, vectors(view, stream), emitted, strict=True):
            got = answer[view.name]
            assert (got is None) == (oracle is None)
            if oracle is None:
                continue
            entity = timed.row[view.key]
            assert isinstance(entity, str)
            seqs[entity] = seqs.get(entity, 0) + 1
            history = histories.setdefault(entity, [])
            history.append(timed)
            head = (got["entity"], got["seq"], got["as_of"], got["late"])
            assert head == (entity, seqs[entity], oracle.as_of, oracle.late)
            check(view, history, oracle.as_of, got["features"], oracle.features)
            for delay, features in zip(delays, got.get("later", []), strict=True):
                time = oracle.as_of + delay
                if time < 2**63:
                    check(view, history, time, features, timer_features(view, history, time), timer=True)


def check(
    view: ViewPlan,
    history: list[Timed],
    as_of: int,
    engine: dict[str, Any],
    oracle: dict[str, FeatureValue],
    *,
    timer: bool = False,
) -> None:
    for feature in view.features:
        got, expected = engine[feature.name], oracle[feature.name]
        allowed = tolerance(feature, history, timer_as_of(feature, history, as_of) if timer else as_of)
        assert agrees(got, expected, allowed), f"{feature}: {got!r}, oracle {expected!r}, as of {as_of}"


def test_an_event_without_the_entity_of_a_middle_stage_skips_only_that_view(kernel: Kernel) -> None:
    row_count = {"name": "n", "operation": "count", "column": None, "column_type": None, "where": None}
    stages = [
        {
            "entity": name,
            "key": key,
            "key_type": "string",
            "views": [
                view_of(
                    row_count | {"window_ms": 60, "hop_ms": 1, "type": "long"}, name=f"{name}0", entity=name, key=key
                )
            ],
        }
        for name, key in (("e", "k"), ("g", "key__g"), ("f", "j"))
    ]
    plan = make_plan(fields=FIELDS, stages=stages, composites=COMPOSITES).model_dump(mode="json")
    events = [
        dict.fromkeys([*COLUMNS, "w0", "w1"]) | {"id": f"{i}", "time": 1, "k": k, "j": j}
        for i, (k, j) in enumerate([("a", "x"), ("a", None), (None, "x"), ("a", "x")])
    ]
    found = [
        {name: view and (view["entity"], view["features"]["n"]) for name, view in answer.items()}
        for answer in kernel.features(plan, events)
        if answer is not None
    ]
    assert found == [
        {"e0": ("a", 1), "g0": ("a|x", 1), "f0": ("x", 1)},
        {"e0": ("a", 2), "g0": None, "f0": None},
        {"e0": None, "g0": None, "f0": ("x", 2)},
        {"e0": ("a", 3), "g0": ("a|x", 2), "f0": ("x", 3)},
    ]


def values_at(kernel: Kernel, times: list[int], ids: list[str], **feature: Any) -> list[FeatureValue]:
    """One feature after each event of one key; ``duplicate`` where an event is one."""
    rows_of = dict.fromkeys(("j", "n", "s", "b", "w0", "w1"), None) | {"k": "a", "x": 1.0}
    events = [rows_of | {"id": event_id, "time": time} for event_id, time in zip(ids, times, strict=True)]
    whole = {"name": "f", "column": None, "column_type": None, "where": None} | feature
    plan = make_plan(fields=FIELDS, views=[view_of(whole)], source={"dedup_horizon_ms": 50}).model_dump(mode="json")
    return [answer["v"]["features"]["f"] if answer else "duplicate" for answer in kernel.features(plan, events)]


def test_an_event_of_the_least_time_is_a_duplicate_until_the_horizon_has_passed(kernel: Kernel) -> None:
    times = [-(2**63), -(2**63), 49 - 2**63, 50 - 2**63, 2**63 - 1]
    window = {"window_ms": LIFETIME.size, "hop_ms": LIFETIME.hop}
    found = values_at(kernel, times, ["i"] * 5, operation="count", type="long", **window)
    assert found == [1, "duplicate", "duplicate", 2, 3]


@pytest.mark.parametrize(
    ("operation", "kind", "expected"),
    [("count", "long", [1, 2, 3]), ("time_since_first", "double", [0.0, 2**60 / 125, 2**64 / 1000])],
)
def test_a_lifetime_spans_all_times(kernel: Kernel, operation: str, kind: str, expected: list[FeatureValue]) -> None:
    times, window = [-(2**63), 0, 2**63 - 1], {"window_ms": LIFETIME.size, "hop_ms": LIFETIME.hop}
    assert values_at(kernel, times, ["i", "j", "l"], operation=operation, type=kind, **window) == expected


@pytest.mark.parametrize("snapshot_every", [1, 7])
def test_a_restored_state_gives_the_same_bits(kernel: Kernel, snapshot_every: int) -> None:
    values = [0.1 * i * (-1) ** i for i in range(300)]
    events = [
        dict.fromkeys(("j", "n", "s", "b", "w0", "w1"))
        | {"id": f"{i}", "time": i * 37 - (i % 5) * 90 + 1_000, "k": "a", "x": value}
        for i, value in enumerate(values)
    ]
    names = ("sum", "mean", "std")
    feature = {
        "column": "x",
        "column_type": "double",
        "where": None,
        "window_ms": 1_000,
        "hop_ms": 50,
        "type": "double",
    }
    view = view_of(*(feature | {"name": name, "operation": name} for name in names))
    plan = make_plan(fields=FIELDS, views=[view]).model_dump(mode="json")
    assert kernel.features(plan, events, snapshot_every) == kernel.features(plan, events)


def test_a_sketch_of_many_values_stays_within_its_error(kernel: Kernel) -> None:
    events = [
        dict.fromkeys(("j", "x", "n", "b", "w0", "w1"))
        | {"id": f"{i}", "time": 1_000 + i, "k": "a", "s": f"v{i % 5_000}"}
        for i in range(12_000)
    ]
    feature = {"name": "d", "operation": "approx_distinct", "column": "s", "column_type": "string", "where": None}
    view = view_of(feature | {"window_ms": 100_000, "hop_ms": 1_000, "type": "long"})
    answers = kernel.features(make_plan(fields=FIELDS, views=[view]).model_dump(mode="json"), events)
    assert answers[99] is not None
    assert answers[99]["v"]["features"]["d"] == 100
    assert answers[-1] is not None
    assert abs(answers[-1]["v"]["features"]["d"] - 5_000) <= 400


@pytest.mark.parametrize("hop_ms", [10, 1_000])
def test_the_most_frequent_of_very_many_values_are_found_within_their_error(kernel: Kernel, hop_ms: int) -> None:
    rng, counts = random.Random(3), Counter[str]()
    events = []
    for i in range(4_000):
        # A third of the events have a frequent value, each about 1.5 times as frequent as the next. Others are unique.
        value = f"often{min(int(rng.expovariate(0.4)), 9)}" if rng.random() < 0.33 else f"once{i}"
        counts[value] += 1
        events.append(dict.fromkeys(("j", "x", "n", "b", "w0", "w1")) | {"id": f"{i}", "time": i, "k": "a", "s": value})
    feature = {"name": "m", "operation": "most_frequent", "column": "s", "column_type": "string", "where": None, "k": 5}
    view = view_of(feature | {"window_ms": 10_000, "hop_ms": hop_ms, "type": "string[]"})
    plan = make_plan(fields=FIELDS, views=[view]).model_dump(mode="json")
    answers = kernel.features(plan, events)
    assert answers == kernel.features(plan, events, snapshot_every=97)
    assert answers[-1] is not None
    found = answers[-1]["v"]["features"]["m"]
    assert len(found) == 5
    error = 4_000 / (MAX_COUNTED_VALUES + 1)
    for value, following in pairwise(found):
        assert counts[value] >= counts[following] - error
    left_out = max(count for value, count in counts.items() if value not in found)
    assert min(counts[value] for value in found) >= left_out - error
