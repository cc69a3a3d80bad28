"""Data of a small run of two pipelines, enough for every plot of the report."""

from __future__ import annotations

import numpy as np

from examples.demo.evidence import Evidence, GateResult, Gates, ReportedAlert, summarise_scores
from examples.demo.report_page import PipelineRun
from examples.demo.timeline import Recorder, Timeline
from scoring.trained_model import Importance
from verify.loop_quality import Area
from verify.measured import Measured
from verify.report import Latency, ModelReport, PipelineReport, Report

DAY_MS = 86_400_000
DRIFT_MS = 35 * DAY_MS
LESS = "at most 0.00117 more than a constant score: 5% of its loss"


def timeline() -> Timeline:
    recorder = Recorder(0.0)
    for name, begin in (("history", 0), ("train", 10), ("score", 20), ("burst", 30), ("live", 40), ("catch up", 55)):
        recorder.begin_phase(name, float(begin))
    for second in range(60):
        counts = {"produced": second * 100, "features": second * 98}
        lags = {"features": second * 7 % 900, "sink-redis": 12, "sink-cassandra": max(0, 5_000 - 90 * second)}
        if second >= 20:
            counts["predictions"] = (second - 20) * 120
            lags |= {"scorer": max(0, 30_000 - 3_000 * (second - 20)), "drift": 3}
            recorder.add_arrivals((float(second), 20.0 + n) for n in range(50))
        recorder.add_sample(counts, lags, float(second))
    return recorder.timeline(60.0)


def evidence(drift_from_ms: int | None = DRIFT_MS) -> Evidence:
    rng = np.random.default_rng(3)
    scores = rng.beta(0.3, 4, 4_000)
    truth = (rng.random(4_000) < scores).astype(np.int8)
    truth[::5] = -1
    monitors = ("event.amount_eur", "customer_activity.last_chip_amount_7d", "score")
    alerts = tuple(
        ReportedAlert(
            at_ms=DRIFT_MS + day * DAY_MS,
            monitor=monitor,
            detector=detector,
            statistic=0.31,
            threshold=0.25,
            reference=40.5,
            current=58.1,
        )
        for monitor in monitors
        for day, detector in ((-2, "missing"), (1, "adwin"), (2, "page_hinkley"), (3, "psi"), (4, "kl"))
    )
    return Evidence(
        begin_ms=0,
        end_ms=46 * DAY_MS,
        trained_until_ms=30 * DAY_MS,
        drift_from_ms=drift_from_ms,
        threshold=0.5,
        positive="review",
        before=summarise_scores(scores[:2_000], truth[:2_000], 0.5),
        after=None if drift_from_ms is None else summarise_scores(scores[2_000:] ** 2, truth[2_000:], 0.5),
        monitors=monitors,
        alerts=alerts,
        importance=tuple(
            Importance(input=f"{view}.feature_{n}_24h", loss=0.02 / (n + 1), spread=0.001)
            for n in range(9)
            for view in ("card_spend", "terminal_risk")
        ),
        gates=Gates(
            verdict="inconclusive",
            events=7_311,
            results=tuple(
                GateResult(verdict=verdict, gate=gate, where=where, n=1_462, measured=measured, passes=passes)
                for verdict, gate, where, measured, passes in (
                    ("pass", "quality", "all events", "brier loss, difference -0.0032 (-0.0041 to -0.0023)", LESS),
                    ("inconclusive", "calibration", "all events", "slope 0.93 (0.71 to 1.15)", "0.8 to 1.25"),
                    ("fail", "fairness", "event.country=AT", "false positives 0.6 (0.5 to 0.7)", "0.8 to 1.25 times"),
                )
            ),
        ),
    )


def pipeline_run(drift_from_ms: int | None = DRIFT_MS) -> PipelineRun:
    latencies = np.random.default_rng(5).lognormal(3.6, 0.6, 500).tolist()
    measured = Measured(events_per_s=3_505.2, latencies_ms=latencies, trained_until_ms=30 * DAY_MS)
    return PipelineRun(measured, timeline(), evidence(drift_from_ms))


def report(*, gaps: int = 0) -> Report:
    fraud = PipelineReport(
        events_valid=45_662,
        events_invalid=247,
        events_duplicate=213,
        dead_letters=247,
        dead_letter_mismatches=0,
        features_emitted=45_662,
        epochs=1,
        features_total=2_785_382,
        features_checked=2_785_382,
        features_unverifiable=0,
        feature_mismatches=0,
        feature_gaps=0,
        predictions=45_662,
        prediction_duplicates=0,
        prediction_gaps=gaps,
        prediction_mismatches=0,
        fallback_predictions=0,
        redis_checked=1_562,
        redis_mismatches=0,
        cassandra_rows=182_648,
        cassandra_rows_compared=1_000,
        cassandra_mismatches=0,
        backfill_rows=27_551,
        backfill_checked=1_542_856,
        backfill_order_differences=912,
        backfill_mismatches=0,
        drift_from_ms=DRIFT_MS,
        drift_alerts=31,
        drift_incidents=2,
        false_incidents_before_drift=1,
        drift_alerts_missing=0,
        drift_alerts_extra=0,
        drift_alert_duplicates=0,
        drift_unfollowed=0,
        drift_mismatches=0,
        incidents=2,
        incident_causes={"none": 1, "concept-drift": 1},
        retrained_version="2",
        loop_seconds=53.5,
        quality={
            stage: Area(auc=auc, low=auc - 0.02, high=auc + 0.02, events=4_000, positives=80)
            for stage, auc in (("before", 0.95), ("in", 0.61), ("after", 0.93))
        },
        latency_ms=Latency(p50=29.1, p95=144.0, p99=225.4),
        events_per_s=3_505.2,
        model=ModelReport(name="fraud", version="1", auc=0.9414, auc_without_windows=0.8383, evaluated=13_303),
        examples=["a card <script>alert(1)</script> that is not there"] if gaps else [],
    )
    return Report(
        pipelines={
            "fraud": fraud,
            "flights": fraud.model_copy(
                update={
                    "prediction_gaps": 0,
                    "examples": [],
                    "drift_from_ms": None,
                    "false_incidents_before_drift": 0,
                    "incident_causes": {"upstream-fault": 1},
                    "retrained_version": None,
                    "loop_seconds": None,
                    "quality": None,
                }
            ),
        },
        versions={"python": "3.11.7", "kafka": "4.1.2"},
    )
