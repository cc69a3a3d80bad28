"""What the log of incidents tells, what alarms add to it, and which trainings follow. Pure."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from loop.entries import Closed, Diagnosed, Entry, Joined, Opened, Proposed, Signal, Stepped, decode, encode
from loop.incidents import SCHEDULED, incidents_of, news, over_ms
from loop.proposals import cloud_event, open_proposals, proposal_for, undecided_proposals
from loop.store import entries_in
from loop.story import Version, incident_of, story
from penstock.errors import PenstockError
from penstock.kafka.reading import Record

HOUR = 3_600_000


def alarm(number: int, hours: float = 0.0, version: str = "1") -> Signal:
    return Signal(
        id=f"a{number}",
        what="event.amount",
        text=f"alarm {number}",
        event_time_ms=int(hours * HOUR),
        place=f"features[0]@{number}",
        model_version=version,
    )


def after(log: list[Entry], *alarms: Signal, quiet_h: float = 24) -> list[Entry]:
    while added := news(log, alarms, int(quiet_h * HOUR), 7):
        log = log + added
    return log


def close(log: list[Entry]) -> list[Entry]:
    return [*log, Closed(incident=log[0].incident, time_ms=8, author="ada", reason="mended")]


def test_alarms_of_a_version_with_no_quiet_day_between_them_are_one_incident():
    log = after(after([], alarm(1), alarm(2, 1)), alarm(3, 20))
    (incident,) = incidents_of(log).values()
    assert [one.id for one in incident.signals] == ["a1", "a2", "a3"]
    assert [type(entry) for entry in log] == [Opened, Joined]


def test_an_alarm_after_a_quiet_day_opens_an_incident_of_its_own():
    log = after([], alarm(1), alarm(2, 5), alarm(3, 40), alarm(4, 50))
    first, second = incidents_of(log).values()
    assert [[one.id for one in incident.signals] for incident in (first, second)] == [["a1", "a2"], ["a3", "a4"]]
    assert over_ms(first, [*first.signals, *second.signals]) == 40 * HOUR
    assert over_ms(second, [*first.signals, *second.signals]) is None


@pytest.mark.parametrize(("cause", "incidents"), [("upstream-fault", 1), ("unclear", 2), ("none", 2)])
def test_an_open_incident_whose_cause_is_known_takes_later_alarms_too(cause, incidents):
    log = after([], alarm(1))
    known = Diagnosed(incident=log[0].incident, time_ms=8, cause=cause, action="wait", why=())
    assert len(incidents_of(after([*log, known], alarm(2, 100)))) == incidents


def test_alarms_from_long_before_a_closed_incident_open_one_of_their_own():
    log = close(after([], alarm(1, 480)))
    assert len(incidents_of(after(log, alarm(2, 240)))) == 2
    assert len(incidents_of(after(log, alarm(3, 470)))) == 1


def test_alarms_that_are_known_add_nothing():
    log = after([], alarm(1), alarm(2))
    assert news(log, [alarm(1), alarm(2)], HOUR, 9) == []


def test_another_version_has_an_incident_of_its_own():
    assert len(incidents_of(after([], alarm(1), alarm(2, version="2")))) == 2


def test_what_comes_soon_after_an_incident_belongs_to_it_and_opens_nothing():
    log = close(after([], alarm(1)))
    assert len(incidents_of(after(log, alarm(2, 5)))) == 1
    assert len(incidents_of(after(log, alarm(3, 30)))) == 2


@hypothesis_settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["1", "2"])), max_size=20), st.lists(st.integers(0, 20)))
def test_however_alarms_arrive_each_counts_once(alarms, cuts):
    signals = [alarm(number, hours, version) for number, (hours, version) in enumerate(sorted(alarms))]
    log: list[Entry] = []
    for cut in [*sorted(cuts), len(signals)]:
        log = after(log, *signals[:cut])
    counted = [one.id for incident in incidents_of(log).values() for one in incident.signals]
    assert sorted(counted) == sorted(one.id for one in signals)


def test_entries_are_read_back_and_a_strange_record_is_refused_with_its_place():
    for entry in after([], alarm(1)) + FULL:
        assert decode(encode(entry), "") == entry
    with pytest.raises(PenstockError) as refused:
        decode(b'{"kind": "party"}', "incidents.x[0]@3")
    assert refused.value.where == "incidents.x[0]@3"


@pytest.mark.parametrize(
    "strange",
    [
        b'{"kind": "party", "incident": "inc-1", "time_ms": 1}',  # kinds, causes and fields of a later release
        b'{"kind": "diagnosed", "incident": "inc-1", "time_ms": 1, "cause": "moon", "action": "howl", "why": []}',
        b'{"kind": "opened", "incident": "inc-1", "time_ms": 1, "signals": []}',
        b"garbage",
        None,
    ],
)
def test_an_entry_that_this_release_does_not_know_is_passed_over_with_one_warning(strange, caplog):
    later = encode(OPEN[0]).replace(b'"kind"', b'"mood": "calm", "kind"')
    topic = f"incidents.{strange!r}"
    records = [Record(0, offset, -1, None, value, ()) for offset, value in enumerate([later, strange, encode(RETRAIN)])]
    for _ in range(2):
        assert entries_in(topic, records) == [OPEN[0], RETRAIN]
    (warning,) = caplog.messages
    assert f"{topic}[0]@1" in warning


OPEN = news([], [alarm(1)], HOUR, 5)
NAME = OPEN[0].incident


def diagnosed(cause: str, action: str) -> Diagnosed:
    return Diagnosed(incident=NAME, time_ms=6, cause=cause, action=action, why=("because",))  # type: ignore[arg-type]


def proposed(log: list[Entry], now_ms: int = 9, to_ms: int = 2) -> Proposed | None:
    incident = incidents_of(log)[NAME]
    return proposal_for(incident, log, from_ms=1, to_ms=to_ms, cool_down_ms=1_000, now_ms=now_ms)


RETRAIN = diagnosed("concept-drift", "retrain")
FIRST = proposed([*OPEN, RETRAIN])
assert FIRST is not None


def step(name: str, outcome: str, time_ms: int = 10) -> Stepped:
    return Stepped(
        incident=NAME, time_ms=time_ms, proposal=FIRST.proposal, step=name, outcome=outcome, detail="version 2"
    )  # type: ignore[arg-type]


FULL: list[Entry] = [*OPEN, RETRAIN, FIRST, step("training", "done"), step("rollout", "done", 20)]


@pytest.mark.parametrize(
    ("cause", "action", "is_proposed"),
    [
        ("concept-drift", "retrain", True),
        ("covariate-shift", "prepare", True),
        ("calibration", "recalibrate", True),
        ("upstream-fault", "mend-source", False),
        ("label-fault", "mend-labels", False),
        ("unclear", "wait", False),
        ("none", "nothing", False),
    ],
)
def test_a_training_is_proposed_where_it_helps_and_never_for_a_fault(cause, action, is_proposed):
    assert (proposed([*OPEN, diagnosed(cause, action)]) is not None) == is_proposed


@pytest.mark.parametrize(
    ("log", "is_proposed"),
    [
        ([*OPEN], False),  # no cause is known
        ([*OPEN, RETRAIN, FIRST], False),  # proposed already
        ([*OPEN, diagnosed("covariate-shift", "prepare"), FIRST], False),  # another one is open
        (close([*OPEN, RETRAIN]), False),
        ([*FULL, diagnosed("covariate-shift", "prepare")], False),  # cooling down
    ],
)
def test_at_most_one_proposal_is_open_and_none_follows_within_the_cool_down(log, is_proposed):
    assert (proposed(log) is not None) == is_proposed


def test_after_the_cool_down_another_action_is_proposed_under_an_id_of_its_own():
    again = proposed([*FULL, diagnosed("covariate-shift", "prepare")], now_ms=5_000)
    assert again is not None
    assert again.proposal == f"{FIRST.proposal}-2"


@pytest.mark.parametrize(
    ("steps", "is_open"),
    [
        ([], True),
        ([step("gates", "failed")], True),
        ([step("gates", "done")], True),
        ([step("gates", "refused")], False),
        ([step("gates", "undecided")], False),
        ([step("gates", "undecided"), step("gates", "done")], True),
        ([step("rollout", "done")], False),
    ],
)
def test_a_proposal_is_open_until_it_is_carried_out_or_refused_or_gates_cannot_tell(steps, is_open):
    assert bool(open_proposals([*OPEN, RETRAIN, FIRST, *steps])) == is_open


UNDECIDED: list[Entry] = [*OPEN, RETRAIN, FIRST, step("gates", "undecided", 10)]


@pytest.mark.parametrize(
    ("log", "now_ms", "to_ms", "is_proposed"),
    [
        (UNDECIDED, 500, 3, False),  # cooling down
        (UNDECIDED, 2_000, 2, False),  # nothing has come since
        (UNDECIDED, 2_000, 3, True),
        ([*UNDECIDED, step("gates", "refused", 11)], 2_000, 3, False),
    ],
)
def test_what_gates_could_not_tell_is_proposed_anew_after_the_cool_down_with_more_events(
    log, now_ms, to_ms, is_proposed
):
    again = proposed(log, now_ms, to_ms)
    assert (again is not None) == is_proposed
    assert again is None or again.proposal == f"{FIRST.proposal}-2"


def test_a_proposal_of_which_gates_cannot_tell_may_be_tried_until_its_incident_is_closed():
    assert undecided_proposals(UNDECIDED) == [FIRST]
    assert undecided_proposals(close(UNDECIDED)) == []


def test_proposals_and_their_steps_are_cloud_events_of_one_subject_and_nothing_else_is():
    events = [json.loads(event) for entry in FULL if (event := cloud_event(entry, "fraud")) is not None]
    assert [event["type"] for event in events] == [
        "penstock.retrain.proposed",
        "penstock.retrain.training.done",
        "penstock.retrain.rollout.done",
    ]
    assert {event["subject"] for event in events} == {FIRST.proposal}
    assert len({event["id"] for event in events}) == 3
    for event in events:
        assert {"specversion", "id", "source", "type", "time", "data"} <= event.keys()


def test_the_story_tells_everything_in_order_by_either_id():
    versions = [Version(2, 11, FIRST.proposal, "f00d" * 8, "pass"), Version(3, 12, "ret-other", None, None)]
    log = close(FULL)
    assert incident_of(log, FIRST.proposal) == incident_of(log, NAME) == NAME
    lines = story(log, NAME, versions, [])
    assert [line.what for line in lines] == ["opened", "cause", "closed", "proposed", "training", "version", "rollout"]
    assert "version 2 was made, data f00df00df00d, gates: pass" in [line.text for line in lines]


def test_an_alarm_is_no_part_of_a_training_that_a_schedule_has_proposed():
    signal = alarm(0).model_copy(update={"id": f"{SCHEDULED}x", "what": "schedule"})
    log = after([Opened(incident="inc-x", time_ms=1, signals=(signal,))], alarm(1, 5))
    scheduled, drifted = incidents_of(log).values()
    assert ([one.id for one in scheduled.signals], [one.id for one in drifted.signals]) == ([signal.id], ["a1"])
