import pytest
from confluent_kafka import KafkaError, KafkaException

from penstock import LabelSource
from penstock.kafka.access import KafkaAccess
from penstock.kafka.gaps import Gap
from scoring.rollout import controller_positions
from scoring.rollout.controller_positions import Found, Positions, why_lost
from tests.backfill.test_labels import Points
from tests.scoring.rollout.rollout_records import BEGIN_MS, define_rollout

A, B, C = ("a", 0), ("a", 1), ("b", 0)


def test_a_controller_goes_on_at_what_is_committed():
    found = Found.of({A: 5, B: 9}, {A: 0, B: 9, C: 0}, {A: 5, B: 20, C: 4})
    assert (found.starts, found.gaps, found.new) == ({A: 5, B: 9}, (), (C,))


def test_it_goes_on_behind_what_was_deleted_and_knows_of_the_gap():
    found = Found.of({A: 5, B: 9}, {A: 7, B: 0}, {A: 30, B: 20})
    assert found.starts == {A: 7, B: 9}
    assert found.gaps == (Gap("a", 0, 5, 7, 30),)
    assert why_lost(found.gaps) == "Kafka deleted 2 records before they were read, such as a[0]@5"


def test_a_topic_that_was_made_anew_is_a_gap():
    assert Found.of({A: 50}, {A: 0}, {A: 30}).starts == {A: 0}


class FakeConsumer:
    """Has records since a time from these offsets on; -1: none."""

    def __init__(self, since, error=None):
        self._since, self._error = since, error
        self.asked = []

    def offsets_for_times(self, partitions, **_options):
        self.asked += [(tp.topic, tp.partition, tp.offset) for tp in partitions]
        for tp in partitions:
            tp.offset = self._since.get((tp.topic, tp.partition), -1)
        if self._error is not None:
            raise KafkaException(self._error)
        return partitions


class Rig:
    def __init__(self, folder, since=None, committed=None, earliest=0, error=None):
        defined = define_rollout(folder, "unit", 1).pipeline
        source = LabelSource(topic="labels.more", contract=Points, value="fraud")
        labels = defined.labels.model_copy(update={"otherwise": (source,)})
        self.pipeline = pipeline = defined.model_copy(update={"labels": labels})
        self.more = ("labels.more", 0)
        self.live, self.shadow, self.log, self.labels = (
            (topic, 0)
            for topic in (
                pipeline.predictions_topic,
                pipeline.shadow_topic,
                pipeline.rollout_log_topic,
                pipeline.labels.topic,
            )
        )
        self.everything = everything = [self.live, self.shadow, self.log, self.labels, self.more]
        self.consumer = FakeConsumer({getattr(self, name): at for name, at in (since or {}).items()}, error)
        self.positions = Positions(
            KafkaAccess(bootstrap="localhost:1"), self.consumer, pipeline, {topic: 1 for topic, _ in everything}
        )
        committed = {getattr(self, name): at for name, at in (committed or {}).items()}
        self.found = Found.of(committed, dict.fromkeys(everything, earliest), dict.fromkeys(everything, 100))

    def of(self, starts):
        return {name: starts[getattr(self, name)] for name in ("live", "shadow", "log", "labels")}


def test_a_new_controller_reads_everything_since_the_policy(tmp_path):
    rig = Rig(tmp_path, since={"live": 40, "shadow": 30, "log": 20}, earliest=10)
    starts, is_whole = rig.positions.since(rig.found, BEGIN_MS)
    assert rig.of(starts) == {"live": 40, "shadow": 30, "log": 20, "labels": 100}  # there is no label since then
    assert is_whole
    # The clock of who published may be ahead.
    assert rig.consumer.asked == [(*place, BEGIN_MS - 300_000) for place in rig.everything]


@pytest.mark.parametrize(("earliest", "expected"), [(40, False), (0, True)])
def test_records_may_be_missing_if_the_first_one_that_is_left_is_of_the_policys_time(tmp_path, earliest, expected):
    rig = Rig(tmp_path, since={"live": earliest, "shadow": 50}, earliest=earliest)
    assert rig.positions.since(rig.found, BEGIN_MS)[1] is expected


def test_an_error_of_kafka_is_not_taken_for_an_offset(tmp_path):
    rig = Rig(tmp_path, error=KafkaError(KafkaError._TIMED_OUT))
    with pytest.raises(KafkaException):
        rig.positions.since(rig.found, BEGIN_MS)


def test_beginning_anew_leaves_out_predictions_whose_shadows_are_before_the_end(tmp_path, monkeypatch):
    class FakeLag:
        def __init__(self, *_arguments):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def log_ends(self, _topic):
            return {0: 103}  # three records of a transaction that is about to be visible

    monkeypatch.setattr(controller_positions, "Lag", FakeLag)
    committed = {"live": 40, "shadow": 41, "log": 42, "labels": 43, "more": 44}
    rig = Rig(tmp_path, since={"log": 5}, committed=committed, earliest=10)
    assert rig.of(rig.positions.anew(rig.found, BEGIN_MS)) == {"live": 103, "shadow": 100, "log": 5, "labels": 43}
    assert rig.positions.anew(rig.found, None)[rig.more] == 44
    assert rig.of(rig.positions.anew(rig.found, None)) == {"live": 103, "shadow": 100, "log": 100, "labels": 43}
    new = Rig(tmp_path, earliest=10)
    assert new.of(new.positions.anew(new.found, None))["labels"] == 100
