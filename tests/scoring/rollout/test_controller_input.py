import math

import pytest

from penstock import LabelSource
from penstock.kafka.names import dead_letters_of
from schemas.codec import Encoder
from schemas.dead_letters import REPLAY_OF
from schemas.history import committed_schemas
from schemas.records import PREDICTION_SCHEMA
from scoring.label_values import truth_of
from scoring.rollout.controller_input import InputReader
from scoring.rollout.controller_labels import LabelReader
from scoring.rollout.controller_records import read_log
from scoring.rollout.facts import Facts
from scoring.rollout.observations import Label, Letter, Live, Shadow
from scoring.rollout.policy_log import Marker, encode
from tests.backfill.test_labels import Points
from tests.scoring.rollout.fake_messages import FakeMessage
from tests.scoring.rollout.rollout_records import BEGIN_MS, Records, canary, change_to, define_rollout


@pytest.fixture
def records(tmp_path) -> Records:
    project = define_rollout(tmp_path, "unit", 2)
    return Records(project, change_to(canary(project, 0.5, 1)), 2)


class Reading:
    """One reading of records, all of the policy's."""

    def __init__(self, records, live=(), shadow=(), letters=(), labels=()) -> None:
        self.records = records
        pipeline = records.project.pipeline
        topics = pipeline.predictions_topic, pipeline.shadow_topic, dead_letters_of(pipeline.predictions_topic)
        self.topics = [*topics, pipeline.labels.topic]
        given = zip(self.topics, (live, shadow, letters, labels), strict=True)
        messages = {
            topic: [
                value if isinstance(value, FakeMessage) else FakeMessage(topic, 0, offset, value)
                for offset, value in enumerate(values)
            ]
            for topic, values in given
        }
        reader = InputReader(records.project, Facts.of(pipeline))
        self.observed = reader.read(messages, (records.change.policy.version,))
        self.passed = [(one.where, one.topic) for one in self.observed.passed]


def letter(records, number, **changes):
    found = records.letter(number, **changes)
    return FakeMessage("letters", 0, 0, found.value, headers=found.headers(), timestamp_ms=99)


def test_a_prediction_is_read_with_all_that_the_judge_asks_for(records):
    (live,) = Reading(records, live=[records.live(5, route="fallback", score=0.25)]).observed.live
    arm = records.arm(5)
    assert live == Live(
        partition=1,
        offset=2,
        event_id="event-5",
        entity="card-5",
        event_time_ms=BEGIN_MS + 10_000,
        policy=records.change.policy.version,
        arm=arm.name,
        version=arm.version,
        score=0.25,
        is_fallback=True,
        infer_ms=2.0,
        scored_at_ms=BEGIN_MS + 10_000,
        groups=(2.0,),
    )


def test_a_shadow_prediction_is_read_with_its_version(records):
    (shadow,) = Reading(records, shadow=[records.shadow(4, 7, score=0.75)]).observed.shadow
    assert shadow == Shadow(
        partition=0,
        offset=2,
        event_id="event-4",
        entity="card-4",
        event_time_ms=BEGIN_MS + 8_000,
        policy=records.change.policy.version,
        version=7,
        score=0.75,
        infer_ms=2.0,
    )


def test_a_replay_of_a_dead_letter_tells_nothing_of_how_versions_work(records):
    replay = FakeMessage("predictions", 0, 0, records.live(0), headers=[("ce_id", b"x"), (REPLAY_OF, b"letters[0]@3")])
    reading = Reading(records, live=[replay, records.live(1)])
    assert ([live.event_id for live in reading.observed.live], reading.passed) == (["event-1"], [])


def test_a_prediction_of_an_earlier_release_has_no_arm(records):
    earlier = [schema for schema in committed_schemas("prediction") if schema != PREDICTION_SCHEMA]
    old = [Encoder(schema).encode(records.prediction(0)) for schema in earlier]
    reading = Reading(records, live=[*old, records.live(1)])
    assert ([live.event_id for live in reading.observed.live], reading.passed) == (["event-1"], [])


def test_a_record_that_the_columns_do_not_vouch_for_is_read_by_itself(records):
    # They vouch for no array that long.
    views = [{"view": "v", "entity": "e", "epoch": 1, "seq": 1, "as_of": 1}] * 150
    plain = Reading(records, live=[records.live(3)], shadow=[records.shadow(3, 2)]).observed
    other = Reading(records, live=[records.live(3, views=views)], shadow=[records.shadow(3, 2, views=views)]).observed
    assert other == plain


def test_a_cascades_version_is_that_of_its_fast_model(records):
    cascade = {
        "fast_version": "2",
        "strong_version": "9",
        "fast_score": 0.5,
        "strong_score": 0.6,
        "low": 0.4,
        "high": 0.6,
        "audited": False,
    }
    changes = {"cascade": cascade, "model_version": "9"}
    long = [{"view": "v", "entity": "e", "epoch": 1, "seq": 1, "as_of": 1}] * 150
    reading = Reading(
        records,
        live=[records.live(0, **changes), records.live(0, **changes, views=long)],
        shadow=[records.shadow(0, 9, cascade=cascade)],
    )
    assert [one.version for one in (*reading.observed.live, *reading.observed.shadow)] == [2, 2, 2]


def test_an_event_without_an_entity_and_a_group_without_a_value_are_read(records):
    short = records.live(0, entity=None, vector=b"\x00\x00\x80\x3f")
    live, other = Reading(records, live=[short, records.live(1)]).observed.live
    assert live.entity is None
    assert len(live.groups) == 1
    assert math.isnan(live.groups[0])
    assert other.groups == (2.0,)


def test_predictions_without_a_policy_or_of_another_one_are_left_out(records):
    other = {**records.prediction(0)["rollout"], "policy": "0" * 12}
    reading = Reading(records, live=[records.live(0, rollout=None), records.live(1, rollout=other), records.live(2)])
    assert [live.event_id for live in reading.observed.live] == ["event-2"]
    assert reading.passed == []


def test_a_dead_letter_of_an_event_without_a_number_is_read_with_its_features(records):
    (found,) = Reading(records, letters=[letter(records, 3)]).observed.letters
    assert found == Letter(partition=1, offset=1, event_id="event-3", entity="card-3", time_ms=99)


def test_dead_letters_that_are_no_versions_fault_are_left_out(records):
    letters = [letter(records, 0, reason=reason) for reason in ("penstock.TooLarge", "penstock.Undecodable")]
    drift = records.letter(0)
    other = FakeMessage("letters", 0, 0, drift.value, headers=[*drift.headers(), ("__connect.errors.topic", b"other")])
    reading = Reading(records, letters=letters)
    assert (reading.observed.letters, reading.passed) == ([], [])
    assert len(Reading(records, letters=[other]).passed) == 1


@pytest.mark.parametrize(("value", "expected"), [(1.0, 1.0), (0.0, 0.0)])
def test_a_label_is_read_with_its_value_and_time(records, value, expected):
    (label,) = Reading(records, labels=[records.label(3, value)]).observed.labels
    assert label == Label("event-3", expected, BEGIN_MS + 66_000, received_ms=7)


def test_a_label_that_withdraws_others_is_read_and_one_that_is_none_is_passed_over(records):
    reading = Reading(records, labels=[records.label(0, None), records.label(1, 0.5), b"{}"])
    assert [label.value for label in reading.observed.labels] == [None]
    labels = reading.topics[-1]
    assert reading.passed == [(f"{labels}[0]@1", labels), (f"{labels}[0]@2", labels)]


@pytest.mark.parametrize(
    ("task", "raw", "expected"),
    [
        ("binary", True, 1.0),
        ("binary", 2, None),
        ("multiclass", "b", 1.0),
        ("multiclass", "a", 0.0),
        ("regression", -2.5, -2.5),
        ("regression", math.inf, None),
    ],
)
def test_what_a_label_says_depends_on_the_task(records, task, raw, expected):
    labels = records.project.pipeline.labels.model_copy(
        update={"task": task, "positive": "b" if task == "multiclass" else None}
    )
    truth, _ = truth_of(raw, task)
    assert (None if truth is None else LabelReader(labels, records.project)._value(truth)) == expected


def test_what_cannot_be_read_is_passed_over_by_its_place_and_the_rest_is_read(records):
    reading = Reading(
        records,
        live=[b"garbage", records.live(0), None, records.live(1)[:-1]],
        shadow=[b"\xc3\x01unknown!!", records.shadow(0, 2)],
        letters=[b"no letter", letter(records, 0), letter(records, 1, value=b"garbage")],
    )
    observed = reading.observed
    assert (len(observed.live), len(observed.shadow), len(observed.letters)) == (1, 1, 1)
    live, shadow, letters, _ = reading.topics
    assert sorted(where for where, _ in reading.passed) == sorted(
        [f"{live}[0]@0", f"{live}[0]@2", f"{live}[0]@3", f"{shadow}[0]@0", f"{letters}[0]@0", f"{letters}[0]@0"]
    )


@pytest.mark.parametrize(("name", "value"), [("partition", b"2"), ("partition", b"9" * 11), ("offset", b"9" * 25)])
def test_a_letter_of_a_place_that_no_record_has_is_passed_over(records, name, value):
    found = letter(records, 3)
    headers = [(each, value if each.endswith(f".{name}") else said) for each, said in found.headers()]
    assert headers != found.headers()
    reading = Reading(records, letters=[FakeMessage("letters", 0, 0, found.value(), headers=headers)])
    assert (reading.observed.letters, len(reading.passed)) == ([], 1)


@pytest.mark.parametrize("version", ["v2", "9" * 5_000, ""])
def test_a_version_that_is_none_is_none_of_the_policys(records, version):
    (live,) = Reading(records, live=[records.live(3, model_version=version)]).observed.live
    assert live.version == 0


def test_events_are_counted_by_arm_and_route(records):
    reading = Reading(
        records,
        live=[records.live(number, route="fallback" if number < 3 else "primary") for number in range(40)],
        shadow=[records.shadow(0, 2)],
        letters=[letter(records, 50)],
    )
    routes = reading.observed.routes(records.change.policy)
    assert routes["shadow", "primary"] == 1
    assert routes[records.arm(50).name, "dead_letter"] == 1
    assert sum(number for (_, route), number in routes.items() if route == "fallback") == 3
    assert sum(routes.values()) == 42


def test_a_log_is_read_in_its_order_without_what_is_no_entry(records):
    marker = Marker(partition=0, first_offset=3, policy=records.change.policy.hash)
    values = [encode(records.change), b"{}", encode(marker)]
    passed = []
    found = read_log("log", [FakeMessage("log", 0, n, value) for n, value in enumerate(values)], passed)
    assert found == [records.change, marker]
    assert [one.where for one in passed] == ["log[0]@1"]


def test_labels_of_each_source_are_read_by_its_own_contract(records):
    more = LabelSource(topic="labels.more", contract=Points, value="fraud")
    labels = records.project.pipeline.labels.model_copy(update={"otherwise": (more,)})
    other = [b"{", b'{"tap": "event-4", "known_at": 5, "fraud": 1.0}']
    messages = {
        "labels.more": [FakeMessage("labels.more", 0, offset, value) for offset, value in enumerate(other)],
        labels.topic: [FakeMessage(labels.topic, 0, 0, records.label(3, 0.0))],
    }
    passed = []
    found = LabelReader(labels, records.project).read(messages, passed)
    assert [(one.event_id, one.value, one.source) for one in found] == [("event-3", 0.0, 0), ("event-4", 1.0, 1)]
    assert [one.where for one in passed] == ["labels.more[0]@0"]
    assert Facts.of(records.project.pipeline.model_copy(update={"labels": labels})).sources == labels.topics
