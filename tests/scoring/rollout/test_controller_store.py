from dataclasses import dataclass, field

import pytest

from penstock.kafka.access import KafkaAccess
from penstock.kafka.reading import Record
from penstock.kafka.transactions import TransactionAbortedError
from scoring.rollout import controller_store
from scoring.rollout.controller_store import NOTE, ControllerStore, Kept, Note
from scoring.rollout.policy_log import encode
from tests.scoring.rollout.rollout_records import canary, change_to, define_rollout

OFFSETS = {("predictions.taps", 0): 8}


@dataclass
class FakeWriter:
    """Remembers what it writes; fails if told to."""

    written: list = field(default_factory=list)
    fails: bool = False

    def start(self):
        return True

    def serve(self):
        pass

    def write(self, records, offsets, group, _timeout_s):
        if self.fails:
            raise TransactionAbortedError("no")
        places = [(tp.topic, tp.partition, tp.offset) for tp in offsets]
        self.written.append(([(r.topic, r.key, r.value) for r in records], places, group))


class Rig:
    def __init__(self, folder, monkeypatch, state=(), policy=None):
        self.pipeline = define_rollout(folder, "unit", 1).pipeline
        self.change = change_to(canary(define_rollout(folder, "unit", 1), 0.5, 1))
        self.writer = FakeWriter()
        self.store = ControllerStore(KafkaAccess(bootstrap="localhost:1"), self.pipeline, self.writer)
        records = [Record(0, offset, 1, key, value, ()) for offset, (key, value) in enumerate(state)]
        monkeypatch.setattr(controller_store, "read_topic", lambda _kafka, _topic: records)
        monkeypatch.setattr(controller_store, "read_followed", lambda _kafka, _pipeline: policy)

    def write(self, state, note=None, **options):
        self.store.write(note or Note(change=self.change), state, OFFSETS, b"group", 5, **options)
        return self.writer.written[-1]


@pytest.fixture
def rig(tmp_path, monkeypatch):
    return Rig(tmp_path, monkeypatch)


def names(written):
    return [key.decode() for _, key, _ in written[0]]


def test_state_note_and_offsets_are_written_together(rig):
    records, offsets, group = rig.write({"head": b"1"})
    note = Note(change=rig.change).model_dump_json().encode()
    topic = rig.pipeline.rollout_state_topic
    assert records == [(topic, b"head", b"1"), (topic, NOTE.encode(), note)]
    assert (offsets, group) == ([("predictions.taps", 0, 8)], b"group")


def test_only_what_has_changed_is_written_again(rig):
    rig.write({"head": b"1", "rows": b""})
    assert names(rig.write({"head": b"2", "rows": b""})) == ["head"]


def test_what_is_gone_is_deleted(rig):
    rig.write({"head": b"1", "rows": b"x"})
    (record,), *_ = rig.write({"head": b"1"})
    assert record == (rig.pipeline.rollout_state_topic, b"rows", None)


def test_what_was_not_written_is_written_again(rig):
    rig.writer.fails = True
    with pytest.raises(TransactionAbortedError):
        rig.write({"head": b"1"})
    rig.writer.fails = False
    assert names(rig.write({"head": b"1"})) == ["head", NOTE]


def test_a_change_is_written_to_the_policy_and_to_the_log_in_the_same_transaction(rig):
    records, *_ = rig.write({}, publishes=True)
    key, value = rig.pipeline.name.encode(), encode(rig.change)
    assert records[1:] == [(rig.pipeline.rollout_topic, key, value), (rig.pipeline.rollout_log_topic, key, value)]


def test_what_was_left_is_read_with_the_latest_value_of_each_record(tmp_path, monkeypatch):
    project = define_rollout(tmp_path, "unit", 1)
    change = change_to(canary(project, 0.5, 1))
    note = Note(change=change, ahead=False, promoted=3)
    state = [
        (b"head", b"1"),
        (b"rows", b"x"),
        (NOTE.encode(), note.model_dump_json().encode()),
        (b"head", b"2"),
        (b"rows", None),
    ]
    rig = Rig(tmp_path, monkeypatch, state, change)
    assert rig.store.read() == Kept(change, note, {"head": b"2"})
    assert names(rig.write({"head": b"2"}, note)) == []


def test_a_note_of_another_release_is_none(tmp_path, monkeypatch, caplog):
    rig = Rig(tmp_path, monkeypatch, [(NOTE.encode(), b'{"format": 9}')])
    assert rig.store.read() == Kept(None, None, {})
    assert "another release" in caplog.text
