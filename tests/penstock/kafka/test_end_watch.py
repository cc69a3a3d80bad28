import json

import pytest
from confluent_kafka import KafkaError

from penstock.kafka.end_watch import LOST, RESENT, SLOW, EndWatch

DISCONNECTED = "FAIL [c#producer-1] [thrd:b]: TxnCoordinator: b:9092: Disconnected (after 31ms in state UP)"
REFUSED = "b:9092/2: Connect to ipv4#10.0.0.2:9092 failed: Connection refused (after 0ms in state CONNECT)"


class Rig:
    def __init__(self):
        self.now = 10.0
        self.watch = EndWatch(lambda: self.now)

    def end(self, seconds=0.01):
        with self.watch.ending():
            self.now += seconds


def statistics(*ends: int) -> str:
    brokers = {f"b{n}": {"req": {"Produce": 900, "EndTxn": sent, "Metadata": 7}} for n, sent in enumerate(ends)}
    return json.dumps({"brokers": brokers})


def test_ends_that_are_answered_at_once_leave_no_doubt():
    rig = Rig()
    for _ in range(3):
        rig.end()
    rig.watch.on_log("REQTMOUT [c#producer-1] [thrd:b]: something else")
    assert rig.watch.doubt is None


@pytest.mark.parametrize(
    "tell",
    [
        lambda watch: watch.on_log(DISCONNECTED),
        lambda watch: watch.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down")),
    ],
    ids=["log", "error"],
)
def test_a_lost_connection_is_a_doubt_even_between_transactions(tell):
    rig = Rig()
    rig.end()
    tell(rig.watch)
    rig.end()
    assert rig.watch.doubt == LOST


def test_a_broker_that_cannot_be_reached_is_no_doubt():
    rig = Rig()
    rig.watch.on_log(f"FAIL [c#producer-1] [thrd:b]: {REFUSED}")
    rig.watch.on_error(KafkaError(KafkaError._TRANSPORT, REFUSED))
    assert rig.watch.doubt is None


def test_an_end_that_took_over_a_second_is_a_doubt_even_if_it_failed():
    rig = Rig()

    def fail():
        with rig.watch.ending():
            rig.now += 1.1
            raise ValueError("failed")

    with pytest.raises(ValueError, match="failed"):
        fail()
    assert rig.watch.doubt == SLOW


def test_as_many_ends_sent_as_begun_leave_no_doubt():
    rig = Rig()
    rig.end()
    rig.watch.on_statistics(statistics(0, 1))
    with rig.watch.ending():
        rig.watch.on_statistics(statistics(1, 1))
    assert rig.watch.doubt is None


def test_more_ends_sent_than_begun_over_all_brokers_are_a_doubt():
    rig = Rig()
    rig.end()
    rig.end()
    rig.watch.on_statistics(statistics(1, 2))
    assert rig.watch.doubt == RESENT


def fail_to_commit(watch):
    with pytest.raises(ValueError, match="undelivered"), watch.ending():
        raise ValueError("undelivered")


def test_a_commit_that_failed_before_it_sent_its_end_hides_no_later_end():
    rig = Rig()
    fail_to_commit(rig.watch)
    rig.end()  # the abort
    rig.watch.on_statistics(statistics(1))
    assert rig.watch.doubt is None
    rig.watch.on_statistics(statistics(2))
    assert rig.watch.doubt == RESENT


def test_an_abort_that_sent_no_end_hides_no_later_end():
    rig = Rig()
    rig.end()
    rig.end()  # the abort
    rig.watch.settle()
    rig.watch.on_statistics(statistics(1))
    rig.end()
    rig.watch.on_statistics(statistics(2))
    assert rig.watch.doubt is None
    rig.watch.on_statistics(statistics(3))
    assert rig.watch.doubt == RESENT


def test_statistics_that_may_be_older_than_the_last_end_do_not_lower_the_count():
    rig = Rig()
    rig.end()
    rig.watch.settle()
    with rig.watch.ending():
        rig.watch.on_statistics(statistics(1))
    rig.watch.on_statistics(statistics(1))
    rig.watch.on_statistics(statistics(2))
    assert rig.watch.doubt is None


def test_the_first_doubt_is_the_one_that_is_told():
    rig = Rig()
    rig.end(2.0)
    rig.watch.on_log(DISCONNECTED)
    assert rig.watch.doubt == SLOW
