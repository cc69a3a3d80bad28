import threading

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from penstock.errors import PenstockError
from penstock.kafka.records import Produced
from penstock.kafka.transactions import (
    Deadline,
    InstanceFencedError,
    OutcomeUnknownError,
    Recovery,
    TransactionAbortedError,
    TransactionalProducer,
    choose_recovery,
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
LARGE = Produced("predictions.taps", 1, b"k", b"large", [], 5, "features.taps[1]@8")
OFFSETS = [TopicPartition("features.taps", 1, 8)]


class FakeClock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def wait(self, seconds):
        self.now += seconds


class ScriptedProducer:
    """Plays back one list of errors (None: success) per method, then succeeds; records the calls."""

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

    def produce(self, topic, value, **rest):
        self._play("produce")
        if self._script.get("delivery") and (error := self._script["delivery"].pop(0)) is not None:
            message = Message(topic, rest["partition"], key=rest["key"], value=value)
            self.refusals.append((rest["on_delivery"], error, message))

    def poll(self, timeout):
        if timeout > 0:
            self._play("poll")
        return 0

    def send_offsets_to_transaction(self, _positions, _group_metadata, _timeout):
        self._play("offsets")

    def commit_transaction(self, _timeout):
        for on_delivery, error, message in self.refusals:
            on_delivery(error, message)
        self._play("commit")

    def abort_transaction(self, _timeout):
        self._play("abort")


class ProducerRig:
    """A transactional producer over scripted producers; those beyond the scripts always succeed."""

    def __init__(self, *scripts, stopping=lambda: False, shared=False):
        self.clock = FakeClock()
        self.made = []
        self.watches = []
        self.replaced = []
        self._scripts = list(scripts)
        self.producer = TransactionalProducer(
            self._create,
            "penstock-taps-scorer-0",
            clock=self.clock,
            wait=self.clock.wait,
            pause=self.clock.wait,
            stopping=stopping,
            on_replaced=self.replaced.append,
            shared=shared,
        )

    def _create(self, watch):
        self.watches.append(watch)
        script = self._scripts.pop(0) if self._scripts else {}
        self.made.append(ScriptedProducer(self.clock, **script))
        return self.made[-1]

    def write(self, timeout_s=20.0, offsets=OFFSETS, records=(RECORD,)):
        self.producer.write(records, offsets, b"group", timeout_s)

    @property
    def calls(self):
        return self.made[-1].calls


def started(script=None) -> ProducerRig:
    rig = ProducerRig(script or {})
    assert rig.producer.start()
    rig.calls.clear()
    return rig


@pytest.mark.parametrize(
    ("error", "committing", "expired", "expected"),
    [
        (RETRIABLE, False, False, Recovery.RETRY),
        (RETRIABLE, True, False, Recovery.RETRY),
        (RETRIABLE, False, True, Recovery.RENEW),
        (ABORTABLE, False, False, Recovery.ABORT),
        (ABORTABLE, True, True, Recovery.ABORT),
        (FENCED, False, False, Recovery.RENEW),
        (TIMED_OUT, False, False, Recovery.RETRY),
        (TIMED_OUT, True, False, Recovery.RENEW),
        (OTHER_INSTANCE, False, False, Recovery.STOP),
        (FORBIDDEN, False, False, Recovery.STOP),
        (STATE, False, False, Recovery.RENEW),
    ],
    ids=str,
)
def test_every_kind_of_error_has_one_recovery(error, committing, expired, expected):
    assert choose_recovery(error, committing=committing, expired=expired) is expected


def test_a_deadline_expires_and_its_remaining_time_is_never_negative():
    clock = FakeClock()
    deadline = Deadline.after(5.0, clock)
    clock.now = 4.0
    assert (deadline.remaining_s, deadline.expired) == (1.0, False)
    clock.now = 9.0
    assert (deadline.remaining_s, deadline.expired) == (0.0, True)


def test_records_and_offsets_are_written_in_one_transaction():
    rig = started()
    rig.write()
    assert rig.calls == ["begin", "produce", "offsets", "commit"]


def test_a_retriable_error_is_retried():
    rig = started({"offsets": [RETRIABLE, RETRIABLE]})
    rig.write()
    assert rig.calls == ["begin", "produce", "offsets", "offsets", "offsets", "commit"]


def test_an_abortable_error_aborts_and_the_producer_stays_usable():
    rig = started({"offsets": [ABORTABLE]})
    with pytest.raises(TransactionAbortedError, match="generation"):
        rig.write()
    assert rig.calls == ["begin", "produce", "offsets", "abort"]
    rig.write()
    assert len(rig.made) == 1


def test_a_commit_that_timed_out_is_never_repeated():
    rig = started({"commit": [TIMED_OUT]})
    with pytest.raises(OutcomeUnknownError):
        rig.write()
    assert rig.calls == ["begin", "produce", "offsets", "commit"]


def test_after_an_unknown_outcome_nothing_is_written_until_a_new_producer_has_fenced_the_old_one():
    rig = started({"commit": [FENCED]})
    with pytest.raises(OutcomeUnknownError):
        rig.write()
    with pytest.raises(OutcomeUnknownError, match="no producer"):
        rig.write()
    assert rig.producer.start()
    rig.write()
    assert [producer.calls[0] for producer in rig.made] == ["begin", "init"]


def test_an_abort_that_fails_discards_the_producer():
    rig = started({"offsets": [ABORTABLE], "abort": [TIMED_OUT]})
    with pytest.raises(OutcomeUnknownError, match="abort failed"):
        rig.write()


def test_retries_end_at_the_time_limit():
    rig = started({"offsets": [RETRIABLE] * 100})
    with pytest.raises(OutcomeUnknownError):
        rig.write(timeout_s=10.0)
    assert rig.calls.count("offsets") < 12


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_call_that_never_returns_is_abandoned(call):
    rig = started()
    released = threading.Event()
    setattr(rig.made[-1], call, lambda *_: released.wait(30))
    with pytest.raises(OutcomeUnknownError, match="does not return"):
        rig.write(timeout_s=2.0)  # begin and produce take one second each
    released.set()


def test_a_record_that_the_broker_refuses_stops_the_service_and_is_named():
    rig = started({"delivery": [None, TOO_LARGE], "commit": [ABORTABLE]})
    with pytest.raises(PenstockError, match="refuses") as stopped:
        rig.write(records=(RECORD, LARGE))
    assert stopped.value.where == "features.taps[1]@8"
    assert rig.calls[-1] == "abort"


def test_a_commit_that_waits_in_vain_behind_a_refused_record_stops_the_service():
    rig = started({"delivery": [None, TOO_LARGE], "commit": [TIMED_OUT]})
    with pytest.raises(PenstockError, match="refuses") as stopped:
        rig.write(records=(RECORD, LARGE))
    assert stopped.value.where == "features.taps[1]@8"
    assert rig.calls[-1] == "abort"


def test_a_record_that_the_client_refuses_stops_the_service():
    rig = started({"produce": [TOO_LARGE]})
    with pytest.raises(PenstockError, match="refuses"):
        rig.write()
    assert rig.calls == ["begin", "produce", "abort"]


def test_a_full_queue_is_drained():
    rig = started({"produce": [BufferError(), BufferError()]})
    rig.write()
    assert rig.calls == ["begin", "produce", "poll", "produce", "poll", "produce", "offsets", "commit"]


def test_another_process_of_the_same_instance_stops_this_one_and_its_transaction_is_aborted():
    rig = started({"offsets": [OTHER_INSTANCE]})
    with pytest.raises(InstanceFencedError, match="another process of the same instance") as stopped:
        rig.write()
    assert "--instance" in stopped.value.next
    assert rig.calls[-1] == "abort"


def test_start_waits_for_an_unreachable_broker():
    rig = ProducerRig({"init": [TIMED_OUT]}, {"init": [RETRIABLE]}, {})
    assert rig.producer.start()
    assert len(rig.made) == 3


def test_waiting_for_the_broker_ends_when_the_process_is_stopping():
    rig = ProducerRig({"init": [TIMED_OUT]}, stopping=lambda: len(rig.made) > 0)
    assert not rig.producer.start()


def test_a_transactional_id_that_is_not_allowed_is_an_error():
    with pytest.raises(PenstockError, match="does not allow"):
        ProducerRig({"init": [FORBIDDEN]}).producer.start()


LOST = KafkaError(KafkaError._TRANSPORT, "TxnCoordinator: b:9092: Disconnected (after 31ms in state UP)")


def test_after_a_commit_that_may_have_been_sent_twice_the_next_transaction_begins_with_a_new_producer():
    rig = started()
    rig.write()
    rig.watches[-1].on_error(LOST)
    rig.write()
    assert [producer.calls for producer in rig.made] == [
        ["begin", "produce", "offsets", "commit"],
        ["init", "begin", "produce", "offsets", "commit"],
    ]
    assert rig.replaced == ["connection_lost"]
    rig.write()
    assert len(rig.made) == 2


def test_after_an_abort_that_may_have_been_sent_twice_the_next_transaction_begins_with_a_new_producer():
    rig = started({"offsets": [ABORTABLE]})
    with pytest.raises(TransactionAbortedError):
        rig.write()
    rig.watches[-1].on_error(LOST)
    rig.write()
    assert rig.made[-1].calls[0] == "init"


def test_a_commit_that_was_sent_twice_is_noticed_after_one_that_failed_before_it_was_sent(monkeypatch):
    monkeypatch.setattr("penstock.kafka.end_watch._SLOW_S", 60.0)
    rig = started({"commit": [ABORTABLE]})
    with pytest.raises(TransactionAbortedError):
        rig.write()
    rig.write()
    rig.watches[-1].on_statistics('{"EndTxn": 3}')  # the abort, and the second commit twice
    rig.write()
    assert rig.replaced == ["sent_twice"]


def test_an_abort_that_sent_nothing_is_not_counted_once_the_client_has_said_so(monkeypatch):
    monkeypatch.setattr("penstock.kafka.end_watch._SLOW_S", 60.0)
    rig = started({"begin": [ABORTABLE]})
    with pytest.raises(TransactionAbortedError):
        rig.write()
    rig.producer.serve()
    rig.watches[-1].on_statistics('{"EndTxn": 0}')
    rig.write()
    rig.watches[-1].on_statistics('{"EndTxn": 2}')  # the commit, twice
    rig.write()
    assert rig.replaced == ["sent_twice"]


def test_a_commit_that_was_repeated_over_a_second_is_in_doubt():
    rig = started({"commit": [RETRIABLE]})
    rig.write()
    rig.write()
    assert rig.replaced == ["slow"]


def test_what_the_client_tells_is_taken_in_before_a_transaction_begins():
    rig = started()
    rig.write()
    rig.made[-1].poll = lambda _timeout: rig.watches[-1].on_error(LOST)
    rig.write()
    assert rig.replaced == ["connection_lost"]


def test_without_offsets_nobody_could_tell_a_process_that_was_cut_off_so_the_caller_decides_about_a_new_producer():
    rig = started()
    rig.write(offsets=[])
    rig.watches[-1].on_error(LOST)
    with pytest.raises(OutcomeUnknownError, match="may have been sent twice"):
        rig.write(offsets=[])
    assert len(rig.made) == 1
    assert rig.producer.start()
    rig.write(offsets=[])


def test_under_an_id_that_others_use_a_producer_in_doubt_is_discarded_and_its_successor_is_the_callers():
    rig = ProducerRig(shared=True)
    rig.producer.start()
    rig.write()
    rig.watches[-1].on_error(LOST)
    with pytest.raises(OutcomeUnknownError, match="may have been sent twice"):
        rig.write()
    assert len(rig.made) == 1
    assert rig.producer.start()
    rig.write()


def test_a_process_that_is_stopping_writes_nothing_with_a_producer_in_doubt():
    stopping = threading.Event()
    rig = ProducerRig({}, stopping=stopping.is_set)
    rig.producer.start()
    rig.write()
    rig.watches[-1].on_error(LOST)
    stopping.set()
    with pytest.raises(TransactionAbortedError, match="stopping"):
        rig.write()


@pytest.mark.parametrize("call", ["begin", "offsets", "commit"])
def test_while_the_process_stops_retries_pause_and_end_after_five_seconds(call):
    stop = threading.Event()
    rig = ProducerRig({call: [RETRIABLE] * 1_000}, stopping=stop.is_set)
    rig.producer.start()
    began = rig.clock.now
    stop.set()
    with pytest.raises(OutcomeUnknownError):
        rig.write()
    assert rig.clock.now - began < 5.0 + 5.0  # each call takes a second
    assert rig.calls.count(call) <= 6


@pytest.mark.parametrize("call", ["send_offsets_to_transaction", "commit_transaction"])
def test_a_call_that_does_not_return_is_abandoned_five_seconds_after_the_process_was_told_to_stop(call):
    stop, released = threading.Event(), threading.Event()
    rig = ProducerRig(stopping=stop.is_set)
    rig.producer.start()
    setattr(rig.made[-1], call, lambda *_: released.wait(30))
    stop.set()
    rig.producer._clock = lambda: rig.clock.wait(1.0) or rig.clock.now  # time passes as it is asked for
    with pytest.raises(OutcomeUnknownError, match="does not return"):
        rig.write(timeout_s=1_000.0)
    released.set()


def test_the_pause_between_retries_is_not_cut_short_when_the_process_stops():
    pauses = []
    rig = started({"offsets": [RETRIABLE]})
    rig.producer._wait = lambda _seconds: pytest.fail("interruptible")
    rig.producer._pause = pauses.append
    rig.write()
    assert pauses == [0.01]


def test_a_full_queue_ends_a_process_that_stops_after_five_seconds():
    stop = threading.Event()
    rig = ProducerRig({"produce": [BufferError()] * 1_000}, stopping=stop.is_set)
    rig.producer.start()
    stop.set()
    with pytest.raises(OutcomeUnknownError, match="queue stayed full"):
        rig.write()
    assert rig.calls.count("produce") <= 6


def test_a_transaction_that_can_be_committed_is_committed_while_the_process_stops():
    stop = threading.Event()
    rig = ProducerRig({"offsets": [RETRIABLE]}, stopping=stop.is_set)
    rig.producer.start()
    stop.set()
    rig.write()
    assert rig.calls[-1] == "commit"
