"""What a client answers, with what Kafka does in the test's hands."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from examples.fraud.pipeline import pipeline as fraud
from penstock.client import Answer, Client, ClientMetrics, EventConflict, EventRefused, InvalidEvent, TooBusy
from penstock.client import client as client_module
from penstock.client.reading import Topic
from penstock.client.sending import Full, TooLong
from penstock.client.waits import Asked, Place
from penstock.errors import PenstockError
from penstock.settings import Settings
from schemas.codec import Encoder
from schemas.dead_letters import DeadLetter
from schemas.records import PREDICTION_SCHEMA

NOW_MS = 1_772_366_400_000
PAYMENT = {
    "transaction_id": "a",
    "event_time": NOW_MS,
    "card_id": "4929000000000001",
    "customer_id": "c1",
    "terminal_id": "t1",
    "amount": 12.5,
    "currency": "EUR",
    "channel": "chip",
    "country": "DE",
    "home_country": "DE",
}
LONG_MS = 60_000


class Kafka:
    """Stands for sender and reader: remembers what is sent, and publishes what the test says."""

    def __init__(self) -> None:
        self.sent: list[tuple[Asked, bytes, bytes | None]] = []
        self.topics: Mapping[str, Topic] = {}
        self.on_send: Callable[[Asked], object] = lambda _asked: None
        self.unacknowledged = 0

    def sender(
        self, _kafka: object, _topic: str, _config: object, on_sent: Any, on_failed: Any, _headers: object
    ) -> Any:
        self.on_sent, self.on_failed = on_sent, on_failed
        stopped = threading.Event()
        return SimpleNamespace(
            send=self.send, poll=stopped.wait, flush=lambda _timeout: self.unacknowledged, close=stopped.set
        )

    def reader(self, _kafka: object, topics: Mapping[str, Topic], _on_unreadable: object) -> Any:
        self.topics = topics
        nothing = lambda: None  # noqa: E731
        return SimpleNamespace(start=nothing, close=nothing, look_for_partitions=nothing, is_alive=True)

    def send(self, asked: Asked, value: bytes, key: bytes | None) -> None:
        self.sent.append((asked, value, key))
        self.on_send(asked)

    def publish(self, topic: str, value: bytes | None, headers: Any = ()) -> None:
        message = SimpleNamespace(value=lambda: value, key=lambda: None, headers=lambda: headers)
        self.topics[topic].on_message(message)  # type: ignore[arg-type]

    def predict(self, event_id: str = "a", event_time: int = NOW_MS, decision: str = "decline") -> None:
        source = {"topic": fraud.source.topic, "partition": 0, "offset": 7, "timestamp": NOW_MS}
        texts = dict.fromkeys(("route", "policy_version", "features_topic"), "x")
        record = {"event_id": event_id, "pipeline": "fraud", "event_time": event_time, "entity": None, "score": 0.9}
        record |= {"decision": decision, "model": "fraud", "model_version": "3", "views": [], "scored_at": NOW_MS + 5}
        record |= {"attempt": 0, "source": source, "features_partition": 0, "features_offset": 0, "vector": b""}
        self.publish(fraud.predictions_topic, Encoder(PREDICTION_SCHEMA).encode({**texts, **record}))

    def refuse(self, reason: str, stage: str, pipeline: str = "fraud") -> None:
        letter = DeadLetter(fraud.source.topic, 0, 7, pipeline, stage, "penstock.job", reason, "why")
        self.publish(fraud.source.dead_letter_topic, b"", letter.headers())


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Kafka:
    kafka = Kafka()
    monkeypatch.setattr(client_module, "EventSender", kafka.sender)
    monkeypatch.setattr(client_module, "AnswerReader", kafka.reader)
    return kafka


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def client(kafka: Kafka, registry: CollectorRegistry) -> Iterator[Client]:
    with Client("fraud", fallback="approve", metrics=ClientMetrics(registry), most_in_flight=2) as client:
        yield client


def sent_at_once(kafka: Kafka, then: Callable[[], object] = lambda: None) -> None:
    """Kafka acknowledges what is sent, and this follows."""

    def on_send(asked: Asked) -> None:
        kafka.on_sent(asked, Place(0, 7))
        then()

    kafka.on_send = on_send


def test_the_model_decides_and_asking_again_returns_the_same_without_sending(client: Client, kafka: Kafka) -> None:
    sent_at_once(kafka, kafka.predict)
    answer = client.ask(PAYMENT, deadline_ms=LONG_MS)
    assert (answer.decision, answer.score, answer.model_version, answer.source) == ("decline", 0.9, "3", "model")
    assert client.ask(PAYMENT, deadline_ms=0) is answer
    assert [key for _, _, key in kafka.sent] == [b"4929000000000001"]


def test_at_the_deadline_the_fallback_decides_and_the_late_prediction_is_counted(
    client: Client, kafka: Kafka, registry: CollectorRegistry
) -> None:
    sent_at_once(kafka)
    answer = client.ask(PAYMENT, deadline_ms=1)
    assert (answer.decision, answer.score, answer.source, answer.reason) == ("approve", None, "fallback", "late")
    kafka.predict()
    known = client.lookup("a")
    assert known is not None
    assert known.prediction is not None
    assert (known.answer, known.prediction.decision) == (answer, "decline")
    assert registry.get_sample_value("penstock_client_late_predictions_total", {"pipeline": "fraud"}) == 1
    labels = {"pipeline": "fraud", "source": "fallback", "reason": "late"}
    assert registry.get_sample_value("penstock_client_answers_total", labels) == 1


def test_a_fallback_may_be_a_function_of_the_event(kafka: Kafka) -> None:
    def decide(event: Any) -> str:
        return "decline" if event.amount > 10 else "approve"

    sent_at_once(kafka)
    with Client("fraud", fallback=decide) as client:
        assert client.ask(PAYMENT, deadline_ms=1).decision == "decline"


@pytest.mark.parametrize(
    ("reason", "stage", "expected"),
    [
        ("penstock.FutureEvent", "validate", "refused"),
        ("penstock.FeaturesTooLarge", "encode", "fallback"),
    ],
)
def test_a_dead_letter_ends_the_wait(client: Client, kafka: Kafka, reason: str, stage: str, expected: str) -> None:
    sent_at_once(kafka, lambda: kafka.refuse(reason, stage))
    if expected == "refused":
        with pytest.raises(EventRefused) as refused:
            client.ask(PAYMENT, deadline_ms=LONG_MS)
        assert refused.value.reason == reason
    else:
        assert client.ask(PAYMENT, deadline_ms=LONG_MS).reason == reason


def test_a_letter_of_the_scorer_names_its_event_in_headers_of_its_own(client: Client, kafka: Kafka) -> None:
    letter = DeadLetter(fraud.features_topic, 0, 3, "fraud", "score", "penstock.scorer", "penstock.NotANumber", "why")
    place = {"topic": fraud.source.topic, "partition": 0, "offset": 7, "timestamp": 0}
    headers = [*letter.headers(), *((f"penstock.source.{name}", str(value).encode()) for name, value in place.items())]
    sent_at_once(kafka, lambda: kafka.publish(f"{fraud.predictions_topic}.dlq", b"", headers))
    assert client.ask(PAYMENT, deadline_ms=LONG_MS).reason == "penstock.NotANumber"


def test_a_letter_of_another_pipeline_on_the_same_topic_ends_nothing(client: Client, kafka: Kafka) -> None:
    sent_at_once(kafka, lambda: kafka.refuse("penstock.InvalidField", "validate", pipeline="other"))
    assert client.ask(PAYMENT, deadline_ms=1).reason == "late"


def test_an_event_that_kafka_does_not_take_is_answered_at_once_and_sent_again_when_asked_again(
    client: Client, kafka: Kafka
) -> None:
    kafka.on_send = lambda asked: kafka.on_failed(asked, "timed out")
    assert client.ask(PAYMENT, deadline_ms=LONG_MS).reason == "not_sent"
    sent_at_once(kafka, kafka.predict)
    assert client.ask(PAYMENT, deadline_ms=LONG_MS).source == "model"


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"amount": "12.5"}, InvalidEvent, "field amount"),
        ({"transaction_id": ""}, InvalidEvent, "field transaction_id"),
        ({"merchant": 5, "amount": 13.0}, EventConflict, "another event with this id"),
    ],
)
def test_what_cannot_be_asked_is_not_sent(
    client: Client, kafka: Kafka, change: dict[str, Any], error: type[Exception], says: str
) -> None:
    sent_at_once(kafka, kafka.predict)
    client.ask(PAYMENT, deadline_ms=LONG_MS)
    with pytest.raises(error, match=says):
        client.ask(PAYMENT | change, deadline_ms=LONG_MS)
    assert len(kafka.sent) == 1


@pytest.mark.parametrize(("raised", "error"), [(Full, TooBusy), (TooLong, InvalidEvent)])
def test_an_event_that_could_not_be_handed_over_is_forgotten(
    client: Client, kafka: Kafka, raised: type[Exception], error: type[Exception]
) -> None:
    def refuse(_asked: Asked) -> None:
        raise raised

    kafka.on_send = refuse
    for _ in range(3):  # more than may wait: none of them does
        with pytest.raises(error):
            client.ask(PAYMENT, deadline_ms=LONG_MS)
    sent_at_once(kafka, kafka.predict)
    assert client.ask(PAYMENT, deadline_ms=LONG_MS).source == "model"


def test_in_an_event_loop_those_who_ask_for_one_event_share_a_wait_that_one_can_leave(
    client: Client, kafka: Kafka
) -> None:
    async def ask() -> list[Answer]:
        leaves, stays = (asyncio.create_task(client.ask_async(PAYMENT, deadline_ms=LONG_MS)) for _ in range(2))
        await asyncio.sleep(0)
        with pytest.raises(TooBusy):
            await client.ask_async(PAYMENT | {"transaction_id": "b"}, deadline_ms=LONG_MS)
        leaves.cancel()
        await asyncio.sleep(0.01)
        threading.Thread(target=kafka.predict).start()
        return [await stays, await client.ask_async(PAYMENT, deadline_ms=LONG_MS)]

    sent_at_once(kafka)
    first, again = asyncio.run(ask())
    assert first is again
    assert first.source == "model"
    assert len(kafka.sent) == 1


def test_closing_says_so_if_kafka_has_not_taken_everything_and_a_closed_client_takes_nothing(kafka: Kafka) -> None:
    client = Client("fraud", fallback="approve")
    kafka.unacknowledged = 2
    with pytest.raises(PenstockError, match="2 events"):
        client.close()
    with pytest.raises(PenstockError, match="closed"):
        client.ask(PAYMENT, deadline_ms=1)


def test_a_contract_without_event_id_is_refused(kafka: Kafka, tmp_path: Any) -> None:
    definition = (
        "from typing import Annotated\n"
        "from penstock import EVENT_TIME, Contract, Entity, Model, Pipeline, Source, View, count\n"
        "class Tap(Contract, name='nameless', version=1):\n"
        "    at: Annotated[int, EVENT_TIME]\n"
        "    card: str\n"
        "card = Entity(name='card', key='card')\n"
        "pipeline = Pipeline(name='nameless', source=Source(topic='events.nameless', contract=Tap, key='card'),\n"
        "    entities=(card,), views=(View(name='v', version=1, entity=card, aggregates=(count(over='1h'),)),),\n"
        "    model=Model(name='m', inputs=('v.count_1h',), threshold=0.5, positive='x', negative='y'))\n"
    )
    (tmp_path / "nameless.py").write_text(definition, encoding="utf-8")
    with pytest.raises(PenstockError, match="no event id"):
        Client(str(tmp_path / "nameless.py"), fallback="x", settings=Settings())


SEVERAL = """
from typing import Annotated
from penstock import EVENT_ID, EVENT_TIME, Contract, Entity, Model, Pipeline, Source, View, count


class Shown(Contract, name="shown", version=1):
    id: Annotated[str, EVENT_ID]
    at: Annotated[int, EVENT_TIME]
    ad: str


class Click(Contract, name="click", version=1):
    id: Annotated[str, EVENT_ID]
    at: Annotated[int, EVENT_TIME]
    ad: str


ad = Entity(name="ad", key="ad")
pipeline = Pipeline(
    name="several",
    source=Source(topic="events.shown", contract=Shown, key="ad"),
    additional_sources=(
        Source(topic="events.clicks", contract=Click, key="ad"),
        Source(topic="events.sales", contract=Click, key="ad", triggers=False),
    ),
    entities=(ad,),
    views=(View(name="v", version=1, entity=ad, aggregates=(count(over="1h"),)),),
    model=Model(name="m", inputs=("v.count_1h",), threshold=0.5, positive="x", negative="y"),
)
"""


def test_events_of_another_topic_that_is_scored_are_known_by_its_contract_and_their_id(
    kafka: Kafka, registry: CollectorRegistry, tmp_path: Any
) -> None:
    (tmp_path / "several.py").write_text(SEVERAL, encoding="utf-8")
    reference = str(tmp_path / "several.py")
    with Client(reference, source="events.clicks", fallback="y", metrics=ClientMetrics(registry)) as client:
        answer = client.ask({"id": "7", "at": NOW_MS, "ad": "a"}, deadline_ms=0)
    assert (answer.event_id, client.name) == ("click:7", "several:events.clicks")
    assert kafka.topics.keys() == {
        *("predictions.several", "events.clicks.dlq", "features.several.dlq", "predictions.several.dlq"),
    }
    with pytest.raises(PenstockError, match=r"no predictions of events of events\.sales") as refused:
        Client(reference, source="events.sales", fallback="y")
    assert "events.shown, events.clicks" in str(refused.value.next)
