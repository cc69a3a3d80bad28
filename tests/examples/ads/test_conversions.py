"""What a horizon means for labels that are late: the numbers that `penstock labels status` shows for both questions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from backfill.label_status.reading import EventColumns, read_labels
from backfill.label_status.status import Declared, LabelStatus, label_status
from examples.ads.conversions import pipeline as of_conversions
from examples.ads.delivery import IMPRESSIONS, AdsConfig, messages
from examples.ads.pipeline import Impression
from examples.ads.pipeline import pipeline as of_clicks
from examples.ads.simulation import DAY_MS, HOUR_MS
from penstock.kafka.reading import Record
from penstock.paths import ROOT
from schemas.avro import contract_schema
from schemas.codec import Decoder
from scoring.label_maturity import Maturity
from scoring.rollout.sample import hashes
from streams.plan.project import open_project

SEED, LIMIT = 7, 10_000
ADS = ROOT / "examples" / "ads"
FILES = {"clicks": ADS / "pipeline.py", "conversions": ADS / "conversions.py"}
ALL_AVRO = {"avro": 1.0, "malformed": 0.0}


def status(of: str, horizon_ms: int | None = None) -> LabelStatus:
    """The status of the labels of five days; with another horizon than the declared one, if given."""
    project = open_project(str(FILES[of]))
    declared = project.pipeline.labels
    assert declared is not None
    sent = list(messages(SEED, LIMIT, AdsConfig(labels=of, **ALL_AVRO)))  # type: ignore[arg-type]
    decoder = Decoder(contract_schema(Impression))
    ids = [
        decoder.decode(m.value or b"")["impression_id"] for m in sent if m.topic == IMPRESSIONS and m.kind == "event"
    ]
    times = [m.event_time_ms for m in sent if m.topic == IMPRESSIONS and m.kind == "event"]
    events = EventColumns.of(hashes("event", ids)[0], np.array(times, np.int64), np.zeros(len(ids), np.bool_))

    def said(topic: str) -> Iterator[Record]:
        for offset, m in enumerate(sent):
            if m.topic == topic:
                yield Record(0, offset, m.event_time_ms or 0, m.key, m.value, ())

    maturity = Maturity(horizon_ms or declared.horizon, declared.absent)
    return label_status(
        events, read_labels(declared, project, said), Declared("binary", maturity), (0, 2**63 - 1), 3 * DAY_MS
    )


@pytest.fixture(scope="module")
def conversions() -> LabelStatus:
    return status("conversions")


def test_of_clicks_nearly_all_are_in_time_and_few_impressions_wait() -> None:
    found = status("clicks")
    assert 0.01 < found.labels.late / found.labels.read < 0.05
    assert found.events.waiting < LIMIT / 20
    assert found.classes == {"positive": found.events.labelled}


def test_of_conversions_one_in_six_is_too_late_and_is_a_negative_for_the_model(conversions: LabelStatus) -> None:
    assert 0.1 < conversions.labels.late / conversions.labels.read < 0.25
    assert conversions.events.labelled + conversions.labels.late == conversions.labels.read
    assert conversions.events.unlabelled > 50 * conversions.events.labelled
    # The curve still rises at the horizon: conversions come later than declared.
    by_age = {each.age_ms: each.labelled for each in conversions.arrival}
    assert by_age[6 * HOUR_MS] < by_age[DAY_MS] < by_age[3 * DAY_MS]


def test_a_longer_horizon_misses_fewer_conversions(conversions: LabelStatus) -> None:
    late = [status("conversions", DAY_MS), conversions, status("conversions", 7 * DAY_MS)]
    assert late[0].labels.late > 1.3 * late[1].labels.late > 1.3**2 * late[2].labels.late > 0


def test_only_labels_and_the_threshold_differ_between_the_two_questions() -> None:
    kept = {"model": of_clicks.model, "labels": of_clicks.labels}
    assert of_conversions.model_copy(update=kept) == of_clicks
    assert of_conversions.model.model_copy(update={"threshold": of_clicks.model.threshold}) == of_clicks.model
    assert type(of_conversions).model_validate(dict(of_conversions)) == of_conversions
