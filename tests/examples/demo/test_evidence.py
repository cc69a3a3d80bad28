"""The report's data: summaries of scores, calibration bins, alerts."""

from __future__ import annotations

import numpy as np
import pytest

from examples.demo.evidence import SCORE_EDGES, CalibrationBin, decode_alerts, decode_predictions, summarise_scores
from schemas.codec import Encoder
from schemas.records import DRIFT_SCHEMA, PREDICTION_SCHEMA
from tests.sinks.payments import prediction

ALERT = {
    "alert_id": "features.fraud-0-7:score:psi",
    "pipeline": "fraud",
    "monitor": "score",
    "detector": "psi",
    "statistic": 0.31,
    "threshold": 0.25,
    "reference": 0.02,
    "current": 0.05,
    "event_time": 2_000,
    "topic": "features.fraud",
    "partition": 0,
    "offset": 7,
    "model": "fraud",
    "model_version": "1",
    "message": "",
}


def test_the_histogram_counts_every_prediction_once_also_beyond_the_last_edge() -> None:
    found = summarise_scores(np.array([0.0, 1e-9, 0.5, 1.0]), np.full(4, -1, dtype=np.int8), 0.5)
    assert sum(found.histogram) == found.predictions == 4
    assert len(found.histogram) == len(SCORE_EDGES) - 1
    assert (found.flagged, found.labelled, found.bins) == (2, 0, ())


def test_expected_positives_are_the_sum_of_the_scores_of_labelled_events() -> None:
    truth = np.array([1, 0, -1], dtype=np.int8)
    found = summarise_scores(np.array([0.9, 0.25, 0.7]), truth, 0.5)
    assert (found.expected, found.positives) == (1.15, 1)
    assert found.flagged == 2


def test_bins_have_at_least_30_labelled_events_and_together_all_of_them() -> None:
    rng = np.random.default_rng(1)
    scores = rng.beta(0.2, 6, 5_000)
    truth = (rng.random(5_000) < scores).astype(np.int8)
    bins = summarise_scores(scores, truth, 0.5).bins
    assert sum(b.labelled for b in bins) == 5_000
    assert sum(b.positives for b in bins) == truth.sum()
    assert min(b.labelled for b in bins) >= 30
    assert [b.mean_score for b in bins] == sorted(b.mean_score for b in bins)


def test_without_predictions_there_are_no_bins() -> None:
    assert summarise_scores(np.array([]), np.array([], dtype=np.int8), 0.5).bins == ()


def test_the_interval_of_a_share_is_wilsons_interval() -> None:
    assert CalibrationBin(mean_score=0.1, labelled=40, positives=3).interval() == pytest.approx(
        (0.02583, 0.19862), abs=5e-5
    )
    assert CalibrationBin(mean_score=0.1, labelled=40, positives=0).interval()[0] == 0


def test_a_repeated_alert_counts_once_and_alerts_are_in_order_of_event_time() -> None:
    encoder = Encoder(DRIFT_SCHEMA)
    earlier = ALERT | {"alert_id": "features.fraud-0-5:score:kl", "detector": "kl", "event_time": 1_000}
    found = decode_alerts(encoder.encode(one) for one in (ALERT, earlier, ALERT))
    assert [(one.at_ms, one.detector) for one in found] == [(1_000, "kl"), (2_000, "psi")]


def test_predictions_are_read_in_order_also_one_with_more_views_than_columns_take() -> None:
    one, other = prediction(1, score=0.25), prediction(2, score=0.5)
    other["views"] = other["views"] * 200
    encoder = Encoder(PREDICTION_SCHEMA)
    event_ids, times, scores = decode_predictions([encoder.encode(each) for each in (one, other, one)])
    assert event_ids == [each["event_id"] for each in (one, other, one)]
    assert times.tolist() == [each["event_time"] for each in (one, other, one)]
    assert scores.tolist() == [0.25, 0.5, 0.25]
