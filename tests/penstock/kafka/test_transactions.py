import threading

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.records import Produced
from penstock.kafka.transactions import (
    AbortedError,
    Deadline,
    OutcomeUnknownError,
    TransactionalProducer,
    Verdict,
    verdict,
)

RETRIABLE = KafkaError(KafkaError.COORDINATOR_LOAD_IN_PROGRESS, "load", False, True, False)
ABORTABLE = KafkaError(KafkaError.ILLEGAL_GENERATION, "generation", False, False, True)
FENCED = KafkaError(KafkaError._FENCED, "fenced", True, False, False)
TIMED_OUT = KafkaError(KafkaError._TIMED_OUT, "timed out", False, True, False)
OTHER_INSTANCE = KafkaError(KafkaError.FENCED_INSTANCE_ID, "instance", False, False, True)
FORBIDDEN = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "no", True, False, False)
TOO_LARGE = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "large")
STATE = KafkaError(KafkaError._STATE, "state", False, False, False)

RECORD = Produced("predictions.taps", 1, b"k", b"v", [("h", b"1")], 5, "features.taps[1]@7")
OFFSETS = [TopicPartition("features.taps", 1, 8)]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


class ScriptedProducer:
    """Plays back one list of errors (None: success) per call, then succeeds; writes down what was called."""

    def __init__(self, clock, **script):
        self._clock = clock
        self._script = {name: list(errors) for name, errors in script.items()}
        self.calls = []
        self.refusals = []

    def _play(self, name):
        self.calls.append(name)
        self._clock.now += 1.0
        error = self._script.get(name, []).pop(0) if self._script.get(name) else None
        if isinstance(error, KafkaError):
            raise KafkaException(error)
        if error is not None:
            raise error

    def init_transactions(self, _timeout):
        self._play("init")

    def begin_transaction(self):
        self._play("begin")

    def produce(self, _topic, _value, **rest):
        self._play("produce")
        if self._script.get("delivery"):
            self.refusals.append((rest["on_delivery"], self._script["delivery"].pop(0)))

    def poll(self, _timeout):
        self._play("poll")
        return 0

    def send_offsets_to_transaction(self, _positions, _group_metadata, _timeout):
        self._play("offsets")

    def commit_transaction(self, _timeout):
        for on_delivery, error in self.refusals:
            on_delivery(error, None)
        self._play("commit")

    def abort_transaction(self, _timeout):
        self._play("abort")


class Rig:
    """A transactional producer over scripted ones, the last of which answers every further creation."""

    def __init__(self, *scripts, stopping=lambda: False):
        self.clock = Clock()
        self.made = []
        self._scripts = list(scripts)
        self.producer = TransactionalProducer(
            self._create, "penstock-taps-scorer-0", clock=self.clock, wait=self.clock.wait, stopping=stopping
        )

    def _create(self):
        script = self._scripts.pop(0) if self._scripts else {}
        self.made.append(ScriptedProducer(self.clock, **script))
        return self.made[-1]

    def write(self, budget_s=20.0):
        self.producer.write([RECORD], OFFSETS, b"group", budget_s)

    @property
    def calls(self):
        return self.made[-1].calls


def started(script=None) -> Rig:
    rig = Rig(script or {})
    assert rig.producer.start()
    rig.calls.clear()
    return rig


@pytest.mark.parametrize(
    ("error", "committing", "expired", "expected"),
    [
        (RETRIABLE, False, False, Verdict.RETRY),
        (RETRIABLE, True, False, Verdict.RETRY),
        (RETRIABLE, False, True, Verdict.RENEW),
        (ABORTABLE, False, False, Verdict.ABORT),
        (ABORTABLE, True, True, Verdict.ABORT),
        (FENCED, False, False, Verdict.RENEW),
        (TIMED_OUT, False, False, Verdict.RETRY),
        (TIMED_OUT, True, False, Verdict.RENEW),
        (OTHER_INSTANCE, False, False, Verdict.STOP),
        (FORBIDDEN, False, False, Verdict.STOP),
        (STATE, False, False, Verdict.RENEW),
    ],
    ids=str,
)
def test_every_kind_of_error_has_one_verdict(error, committing, expired, expected):
    assert verdict(error, committing=committing, expired=expired) is expected


def test_a_deadline_runs_out_once_and_is_never_negative():
    clock = Clock()
    deadline = Deadline.after(5.0, clock)
    clock.now = 4.0
    assert (deadline.left, deadline.expired) == (1.0, False)
    clock.now = 9.0
    assert (deadline.left, deadline.expired) == (0.0, True)


def test_records_and_offsets_are_one_transaction():
    rig = started()
    rig.write()
    assert rig.calls == ["begin", "produce", "offsets", "commit"]


def test_a_retriable_error_is_tried_again():
    rig = started({"offsets": [RETRIABLE, RETRIABLE]})
    rig.write()
    assert rig.calls == ["begin", "produce", "offsets", "offsets", "offsets", "commit"]


def test_an_abortable_error_aborts_and_the_producer_lives_on():
    rig = started({"offsets": [ABORTABLE]})
    with pytest.raises(AbortedError, match="generation"):
        rig.write()
    assert rig.calls == ["begin", "produce", "offsets", "abort"]
    rig.write()
    assert len(rig.made) == 1


def test_a_commit_that_timed_out_is_never_called_again():
    rig = started({"commit": [TIMED_OUT]})
    with pytest.raises(OutcomeUnknownError):
        rig.write()
    assert rig.calls == ["begin", "produce", "offsets", "commit"]


def test_a_producer_of_unknown_outcome_is_not_used_again_until_a_new_one_has_fenced_it():
    rig = started({"commit": [FENCED]})
    with pytest.raises(OutcomeUnknownError):
        rig.write()
    with pytest.raises(OutcomeUnknownError, match="no producer"):
        rig.write()
    assert rig.producer.start()
    rig.write()
    assert [producer.calls[0] for producer in rig.made] == ["begin", "init"]


def test_an_abort_that_fails_leaves_it_to_the_next_producers_fence():
    rig = started({"offsets": [ABORTABLE], "abort": [TIMED_OUT]})
    with pytest.raises(OutcomeUnknownError, match="abort failed"):
        rig.write()


def test_retries_end_with_the_budget():
    rig = started({"offsets": [RETRIABLE] * 100})
    with pytest.raises(OutcomeUnknownError):
        rig.write(budget_s=10.0)
    assert rig.calls.count("offsets") < 12


def test_a_call_that_never_returns_is_given_up():
    rig = started()
    released = threading.Event()
    rig.made[-1].send_offsets_to_transaction = lambda *_: released.wait(30)
    with pytest.raises(OutcomeUnknownError, match="does not return"):
        rig.write(budget_s=2.0)  # of which beginning and producing take one second each
    released.set()


def test_a_record_that_the_broker_refuses_stops_the_scorer_and_names_it():
    rig = started({"delivery": [TOO_LARGE], "commit": [ABORTABLE]})
    with pytest.raises(PenstockError, match="refuses") as stopped:
        rig.write()
    assert stopped.value.where == "features.taps[1]@7"
    assert rig.calls[-1] == "abort"


def test_a_record_that_the_client_refuses_stops_the_scorer_too():
    rig = started({"produce": [TOO_LARGE]})
    with pytest.raises(PenstockError, match="refuses"):
        rig.write()
    assert rig.calls == ["begin", "produce", "abort"]


def test_a_full_queue_is_drained():
    rig = started({"produce": [BufferError(), BufferError()]})
    rig.write()
    assert rig.calls == ["begin", "produce", "poll", "produce", "poll", "produce", "offsets", "commit"]


def test_another_process_of_the_same_instance_stops_this_one_and_leaves_nothing_open():
    rig = started({"offsets": [OTHER_INSTANCE]})
    with pytest.raises(PenstockError, match="another scorer") as stopped:
        rig.write()
    assert "--instance" in stopped.value.next
    assert rig.calls[-1] == "abort"


def test_a_broker_that_is_away_at_the_start_is_waited_for():
    rig = Rig({"init": [TIMED_OUT]}, {"init": [RETRIABLE]}, {})
    assert rig.producer.start()
    assert len(rig.made) == 3


def test_waiting_for_the_broker_ends_when_the_process_is_to_stop():
    rig = Rig({"init": [TIMED_OUT]}, stopping=lambda: len(rig.made) > 0)
    assert not rig.producer.start()


def test_a_transactional_id_that_is_not_allowed_is_an_error():
    with pytest.raises(PenstockError, match="does not allow"):
        Rig({"init": [FORBIDDEN]}).producer.start()
