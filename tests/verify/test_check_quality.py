"""The verifier finds every way in which histograms of quality can be wrong, and agrees with those that are right."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from penstock.kafka.reading import Record
from schemas.codec import Encoder
from schemas.history import record_decoder
from schemas.records import DRIFT_SCHEMA
from scoring.quality.book import Book
from scoring.quality.events import Event
from scoring.quality.facts import QualityFacts
from scoring.quality.quality_input import QualityInput
from scoring.quality.reading_clock import ReadingClock
from scoring.quality.store import QualityStore
from streams.plan.project import Project
from tests.scoring.quality.quality_records import ALSO, LABELS, OTHERWISE, QualityRecords, define_quality, time_of
from tests.scoring.rollout.fake_messages import FakeMessage
from tests.verify.sabotage.catalogue import Mutant
from tests.verify.sabotage.quality import QUALITY_MUTANTS
from verify.check_quality import QualityFindings, check_quality
from verify.labels import label_history
from verify.published import readable
from verify.run_data import RunData

PARTITIONS = 2


class Writer:
    """Keeps what a store writes."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def start(self):
        return True

    def serve(self):
        pass

    def write(self, records, _offsets, _group, _timeout_s):
        self.records += [Record(0, n, 1, r.key, r.value, ()) for n, r in enumerate(records)]


def record_run(
    folder: Path, *, late: bool = False, straggler: int | None = None, backlog: bool = False, also: str = ""
) -> tuple[Project, RunData]:
    """Predictions, labels that are corrected and withdrawn, and what a store has written of them.

    With ``late`` a label comes when its event may have been forgotten, and the predictions of ``straggler`` come when
    theirs was. With ``backlog`` all labels are there first, and one partition is scored after the other. ``also`` are
    further arguments of the pipeline.
    """
    project = define_quality(folder, "verified", PARTITIONS, LABELS + OTHERWISE, also=also)
    pipeline, made = project.pipeline, QualityRecords(project, PARTITIONS)
    assert pipeline.labels is not None
    topics = pipeline.predictions_topic, pipeline.shadow_topic, *pipeline.labels.topics
    kept: dict[str, list[Record]] = {topic: [] for topic in topics}

    def add(topic: str, number: int, value: bytes, timestamp: int) -> None:
        of = kept[topic]
        of.append(Record(made.partition(number), len(of), timestamp, None, value, ()))

    count = 1_200 if backlog else 400
    for number in sorted(range(count), key=lambda number: (number == straggler, backlog and made.partition(number))):
        timestamp = time_of(number if number != straggler else 400)
        if backlog:
            timestamp = time_of(count) + 3_600_000 * made.partition(number)
        add(topics[0], number, made.live(number), timestamp)
        add(topics[1], number, made.shadow(number), timestamp)
    labels = [(number, 1.0, 600_000) for number in range(0, count, 4)]
    # A stretch of which all are positive, which scores do not expect.
    labels += [(number, 1.0, 600_000) for number in range(101, 141)]
    labels += [(40, None, 700_000), (44, 0.0, 800_000), (48, 0.0, 3_600_001)]
    labels += [(8, 1.0, 600_000)] if late else []
    # These are read when their events have matured: two corrections, and what was not known until then.
    labels += [] if late or backlog else [(52, None, 700_000), (105, 0.0, 700_000), (201, 1.0, 650_000)]
    for place, (number, value, age_ms) in enumerate(labels):
        received = time_of(399) + 600_000 if late and place == len(labels) - 1 else time_of(number) + age_ms
        add(topics[2], number, made.label(number, value, age_ms=age_ms), received)
    # Another source, which does not count for 56 to 76, does for 40, whose label is withdrawn, and for what has none.
    for number in (40, *range(56, 80), 101, 102):
        add(topics[3], number, made.opinion(number, number % 8 == 4 or number == 101), time_of(number) + 600_000)

    facts = QualityFacts.of(pipeline)
    messages = {
        topic: [FakeMessage(topic, r.partition, r.offset, r.value, timestamp_ms=r.timestamp) for r in of]
        for topic, of in kept.items()
    }
    book, read = Book(facts), QualityInput(project, facts).read(messages)
    corrections = [] if late or backlog else [one for one in read.labels if not one.source][-3:]
    stragglers = [
        one for one in read.predictions if one.event_time_ms == time_of(-1 if straggler is None else straggler)
    ]
    in_time = [one for one in read.predictions if one not in stragglers]
    clock = ReadingClock({(topic, n) for topic in topics[2:] for n in range(PARTITIONS)}, ())
    batches = [(in_time, [one for one in read.labels if one not in corrections], read.come)]
    if backlog:
        come = [{p: of for p, of in read.come.items() if p[0] in topics[2:]}]
        come += [{p: of for p, of in read.come.items() if p[0] in topics[:2] and p[1] == n} for n in range(PARTITIONS)]
        of_partition = [[one for one in in_time if one.place and one.place[0][1] == n] for n in range(PARTITIONS)]
        batches = list(zip([[], *of_partition], [read.labels, [], []], come, strict=True))
    for predictions, known, come_to in batches:
        book.observe(predictions, known)
        book.advance(clock.read(come_to, (), ()).reached)
    book.observe(stragglers, corrections)
    writer = Writer()
    store = QualityStore(pipeline, facts, lambda _topic, **_: iter(()), writer)
    ends = {(topic, number): len(of) for topic, of in kept.items() for number in range(PARTITIONS)}
    store.write(book, clock.reached, ends, None, 1)
    alerts = [record for record in writer.records if record.key == b"labels"]
    quality = [record for record in writer.records if record.key != b"labels" and not _is_event(record)]
    decoder = record_decoder("prediction")
    live, shadows = (readable(kept[topic], decoder, topic)[0] for topic in topics[:2])
    run = RunData(
        (), (), (), live, shadows=shadows, labels=[kept[topic] for topic in topics[2:]], quality=quality, alerts=alerts
    )
    return project, run


def _is_event(record: Record) -> bool:
    return record.key is not None and record.key.startswith(b"event-")


@cache
def recorded() -> tuple[Project, RunData]:
    with TemporaryDirectory() as folder:
        return record_run(Path(folder))


def checked(project: Project, run: RunData) -> QualityFindings:
    labels = project.pipeline.labels
    assert labels is not None
    return check_quality(project, run, lambda records: label_history(labels, records, project.schemas))


def test_what_was_counted_is_what_the_verifier_counts() -> None:
    found = checked(*recorded())
    assert (found.mismatches, found.unchecked) == (0, []), found.examples
    assert found.histograms > 20
    # There is something to find: an alarm on labels, and three labels that were not final when they were taken.
    assert len(recorded()[1].alerts) == 1
    assert sum((one.key or b"").startswith(b"odd:") for one in recorded()[1].quality) == 3


@pytest.mark.parametrize("mutant", QUALITY_MUTANTS, ids=[mutant.name for mutant in QUALITY_MUTANTS])
def test_the_verifier_finds(mutant: Mutant) -> None:
    project, run = recorded()
    found = checked(project, mutant.change(project, run))
    says = {"quality_mismatches": bool(found.mismatches), "not_checked": bool(found.unchecked)}
    assert [says[name] for name in mutant.found_by] == [True], found


def test_the_verifier_finds_labels_that_were_counted_in_the_order_of_their_arrival() -> None:
    project, run = recorded()
    labels = project.pipeline.labels
    assert labels is not None
    (other,) = labels.otherwise
    swapped = labels.model_copy(
        update={**dict(other), "otherwise": (other.model_copy(update={**dict(labels.sources[0])}),)}
    )
    pipeline = project.pipeline.model_copy(update={"labels": swapped})
    again = dataclasses.replace(project, pipeline=pipeline)
    assert checked(again, dataclasses.replace(run, labels=run.labels[::-1])).mismatches > 0


def test_an_alarm_names_the_topic_of_its_event_where_several_are_scored(tmp_path: Path) -> None:
    project, run = record_run(tmp_path, also=ALSO)
    found = checked(project, run)
    assert (found.mismatches, found.unchecked) == (0, []), found.examples
    (record,) = run.alerts
    alert = record_decoder("drift_alert").decode(record.value or b"")
    sources = [one.value["source"] for one in run.predictions if one.value["event_time"] == alert["event_time"]]
    names = ("topic", "partition", "offset")
    assert [{name: source[name] for name in names} for source in sources] == [{name: alert[name] for name in names}]
    assert alert["alert_id"].startswith(f"{alert['topic']}-{alert['partition']}-{alert['offset']}:")
    # The same place in another topic is another event.
    (other,) = {*project.plan.triggering_topics} - {alert["topic"]}
    wrong = alert | {"topic": other, "alert_id": alert["alert_id"].replace(alert["topic"], other)}
    value = Encoder(DRIFT_SCHEMA).encode(wrong)
    assert checked(project, dataclasses.replace(run, alerts=[dataclasses.replace(record, value=value)])).mismatches > 0


def test_a_prediction_is_read_with_its_topic_by_itself_and_among_many(tmp_path: Path) -> None:
    project = define_quality(tmp_path, "several", PARTITIONS, also=ALSO)
    made, topic = QualityRecords(project, PARTITIONS), project.pipeline.predictions_topic
    messages = [FakeMessage(topic, number % 2, number, made.live(number)) for number in range(100)]
    reader = QualityInput(project, QualityFacts.of(project.pipeline))
    many = [one.topic for one in reader.read({topic: messages}).predictions]
    assert many[:5] == [project.plan.triggering_topics[number // 2 % 2] for number in range(5)]
    assert many == [one.topic for m in messages for one in reader.read({topic: [m]}).predictions]
    for one in reader.read({topic: messages[:5]}).predictions:
        event = Event(one.event_id)
        event.add_prediction(one)
        assert Event.decode(one.event_id, event.encode()).predictions == event.predictions


def test_a_run_without_a_count_is_nothing_to_check() -> None:
    project, run = recorded()
    assert checked(project, dataclasses.replace(run, quality=())) == QualityFindings()


def test_what_was_not_read_yet_is_told_and_the_rest_compared() -> None:
    project, run = recorded()
    last = run.predictions[-1]
    later = dataclasses.replace(last, offset=10_000, value={**last.value, "event_id": "later"})
    found = checked(project, dataclasses.replace(run, predictions=[*run.predictions, later]))
    assert found.mismatches == 0
    assert found.unchecked == ["histograms of quality: 1 record was not counted yet"]


def test_a_prediction_of_an_event_that_was_forgotten_counts_nothing(tmp_path: Path) -> None:
    project, run = record_run(tmp_path, straggler=3)
    found = checked(project, run)
    assert (found.mismatches, found.unchecked) == (0, []), found.examples
    # It would be a loss of any other one.
    for number in (4, 399):
        others = [one for one in run.predictions if one.value["event_time"] != time_of(number)]
        found = checked(project, dataclasses.replace(run, predictions=others))
        assert found.mismatches


def test_a_note_that_counts_other_late_predictions_is_found(tmp_path: Path) -> None:
    project, run = record_run(tmp_path, straggler=3)
    quality = [
        dataclasses.replace(one, value=(one.value or b"").replace(b'"late":2', b'"late":1'))
        if one.key == b"note"
        else one
        for one in run.quality
    ]
    assert quality != run.quality
    found = checked(project, dataclasses.replace(run, quality=quality))
    assert found.examples == ["quality: 1 prediction came late, and 2 are named"]


def test_a_backlog_of_which_half_came_when_its_events_were_forgotten_is_checked_to_the_last(tmp_path: Path) -> None:
    """Labels are there, and one partition is scored after the other: of each hour, many predictions come late."""
    project, run = record_run(tmp_path, backlog=True)
    note = next(json.loads(one.value or b"") for one in run.quality if one.key == b"note")
    assert note["late"] > 200
    found = checked(project, run)
    assert (found.mismatches, found.unchecked) == (0, []), found.examples
    # A late prediction that counts all the same, or one in time that does not.
    (topic, of), *_ = note["late_places"].items()
    assert topic == project.pipeline.predictions_topic
    ((partition, ((first, end), *_)), *_) = of.items()
    for changed in ([first + 1, end], [first, end + 1]):
        one = json.loads(json.dumps(note))
        one["late_places"][topic][partition][0] = changed
        one["late"] += (changed[1] - changed[0]) - (end - first)
        assert checked(project, with_note(run, one)).mismatches


def test_a_prediction_that_came_in_time_cannot_be_named_as_late(tmp_path: Path) -> None:
    """An engine that loses a prediction, and says that it came late."""
    project, run = record_run(tmp_path)
    lost = next(one for one in run.predictions if one.value["event_time"] == time_of(200))
    note = next(json.loads(one.value or b"") for one in run.quality if one.key == b"note")
    note |= {"late": 1, "late_places": {project.pipeline.predictions_topic: {lost.partition: [[lost.offset] * 2]}}}
    note["late_places"][project.pipeline.predictions_topic][lost.partition][0][1] += 1
    found = checked(project, with_note(run, note))
    place = f"{project.pipeline.predictions_topic}[{lost.partition}]@{lost.offset}"
    assert f"quality: {place} counts nowhere, and did not come late" in found.examples


@pytest.mark.parametrize("places", [None, "absent"])
def test_late_predictions_that_nobody_has_written_down_cannot_be_checked(tmp_path: Path, places: str | None) -> None:
    project, run = record_run(tmp_path, straggler=3)
    note = next(json.loads(one.value or b"") for one in run.quality if one.key == b"note")
    del note["late_places"]
    found = checked(project, with_note(run, note if places else note | {"late_places": None}))
    assert found.mismatches == 0
    assert found.unchecked == ["histograms of quality: 2 predictions came late, and which is not written down"]


def with_note(run: RunData, note: dict[str, Any]) -> RunData:
    value = json.dumps(note, separators=(",", ":")).encode()
    quality = [dataclasses.replace(one, value=value) if one.key == b"note" else one for one in run.quality]
    return dataclasses.replace(run, quality=quality)


def test_where_the_order_of_records_decides_it_says_that_it_cannot_check(tmp_path: Path) -> None:
    found = checked(*record_run(tmp_path, late=True))
    assert found.mismatches == 0
    assert "two horizons after their event" in found.unchecked[0]
