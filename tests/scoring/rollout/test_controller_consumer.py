import pytest
from confluent_kafka import KafkaError

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.transactions import InstanceFencedError
from scoring.rollout.controller_consumer import batch_of, controller_config
from tests.scoring.rollout.fake_messages import FakeMessage


def error(code, text="text", *, fatal=False):
    return FakeMessage("a", 0, 50, error=KafkaError(code, text, fatal, False, False))


def test_records_are_grouped_by_topic_and_positions_are_behind_the_last_of_each_partition():
    messages = [FakeMessage("a", 0, 3, b"x"), FakeMessage("b", 1, 7, b"y"), FakeMessage("a", 0, 5, b"z")]
    batch = batch_of(messages)
    assert {topic: [m.value() for m in found] for topic, found in batch.records.items()} == {
        "a": [b"x", b"z"],
        "b": [b"y"],
    }
    assert batch.positions == {("a", 0): 6, ("b", 1): 8}
    assert not batch.is_off


def test_the_end_of_a_partition_is_a_position_beyond_the_markers_of_transactions():
    end = error(KafkaError._PARTITION_EOF)
    assert batch_of([FakeMessage("a", 0, 3, b"x"), end]).positions == {("a", 0): 50}


def test_a_partition_without_a_record_at_its_offset_is_told():
    assert batch_of([error(KafkaError._AUTO_OFFSET_RESET)]).is_off


@pytest.mark.parametrize(
    "message",
    [error(KafkaError.FENCED_INSTANCE_ID), error(KafkaError._FATAL, "Static consumer fenced by other", fatal=True)],
)
def test_another_controller_is_an_error_of_its_own(message):
    with pytest.raises(InstanceFencedError):
        batch_of([message])


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (error(KafkaError._FATAL, "broken", fatal=True), "cannot continue: broken"),
        (error(KafkaError.UNKNOWN_TOPIC_OR_PART), "topic a is gone"),
    ],
)
def test_an_error_that_no_retry_can_mend_ends_the_controller(message, what):
    with pytest.raises(PenstockError, match=what):
        batch_of([message])


def test_other_errors_are_logged(caplog):
    assert batch_of([error(KafkaError._TRANSPORT, "refused")]).records == {}
    assert "refused" in caplog.text


def test_all_controllers_of_a_pipeline_are_one_instance():
    config = controller_config(KafkaAccess(bootstrap="localhost:1"), "penstock-taps-rollout")
    assert config["group.instance.id"] == "penstock-taps-rollout-controller"
    assert config["enable.partition.eof"]
