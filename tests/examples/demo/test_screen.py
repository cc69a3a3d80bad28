"""The demo's screen: rates, the panel on a terminal, lines elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from examples.demo.output_readers import HighScore, ShownAlert
from examples.demo.screen import Screen, ShownRollout
from penstock.running.figures import Meter


def test_without_a_terminal_each_step_is_a_line_with_its_duration() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=100)) as screen:
        screen.step("first")
        screen.step("second")
        screen.finish()
    done = [line for line in out.getvalue().splitlines() if line.startswith("✓")]
    assert [line.split()[1] for line in done] == ["first", "second"]


def test_the_panel_shows_rates_lags_latency_high_scores_and_drift_alerts() -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, width=100))
    state = screen.state
    state.step = "fraud: a burst"
    state.meters = {"predictions": Meter(), "drift alerts": Meter()}
    state.meters["predictions"].set(1_000, 0.0)
    state.meters["predictions"].set(4_000, 1.0)
    state.meters["drift alerts"].set(2, 1.0)
    state.lags = {"scorer": 12}
    state.latencies_ms = [29.0] * 99 + [144.0]
    state.high_scores = [HighScore(0.974, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b")]
    state.alerts = [ShownAlert("event.amount_eur", "adwin", 40.5, 58.125)]
    screen._console.print(screen._panel(1.0))
    shown = [" ".join(line.strip("│╭╮ ").split()) for line in out.getvalue().splitlines()]
    assert "predictions 4,000 3,000 scorer 12" in shown
    assert "raw event → committed prediction p50 29 ms p99 144 ms" in shown
    assert "9f86d081884c7d659a2feaa0… 0.974" in shown
    assert "event.amount_eur 40.5 58.1 adwin" in shown


def test_the_panel_shows_the_weights_of_a_rollout_and_what_its_guardrails_say() -> None:
    out = io.StringIO()
    screen = Screen(Console(file=out, width=100))
    screen.state.rollout = ShownRollout(
        "running",
        {"first (version 1)": 0.8, "retrained (version 2)": 0.2},
        "step 1 passed",
        {"errors": "equivalent", "quality": "continue", "scores": "equivalent"},
    )
    screen._console.print(screen._panel(1.0))
    shown = [" ".join(line.strip("│╭╮ ").split()) for line in out.getvalue().splitlines()]
    assert "rollout: running share of entities" in shown
    assert "retrained (version 2) 20 %" in shown
    assert "step 1 passed" in shown
    assert "equivalent: errors, scores" in shown
    assert "continue: quality" in shown
