"""What the screen of a running pipeline shows."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from penstock.commands.running.screen import View, panel
from penstock.running.figures import Alert, Backlog, Figures, Health, Latency, Letter, RolloutState
from penstock.running.record import PartRecord

NAMES = ("features", "scorer", "drift", "quality", "rollout")
NO_MODEL = {"state": "waiting", "reason": "model ads has no version yet", "next": "penstock model train ads"}


def shown(view: View, now_ms: int = 100_000) -> str:
    out = io.StringIO()
    Console(file=out, width=130, color_system=None).print(panel(view, now_ms))
    return re.sub(" +", " ", out.getvalue())


def part(name: str, **rest: object) -> PartRecord:
    return PartRecord.model_validate({"name": name, "state": "running", "since_ms": 0, **rest})


def test_the_screen_has_everything_that_was_measured() -> None:
    figures = Figures(
        at_ms=100_000,
        arriving=402.4,
        backlogs={
            "features": Backlog(0, 0.0, 0.0, 398.0),
            "scorer": Backlog(1_200, 3.25, -100.0, 500.0),
            "quality": Backlog(9, 70.0, 0.5, None),
        },
        health={"scorer": Health(True, "caught up"), "drift": Health(False, "9 records behind, the last progress 130")},
        job="RUNNING",
        latency=Latency(18.0, 61.0, 200, 99_000),
        alerts=(Alert(0, "event.amount", "adwin", 20.0, 31.5),),
        letters=(Letter(0, "events.dlq[1]@3", "penstock.job", "penstock.InvalidField", "amount: too \x1b[31mlow"),),
        rollout=RolloutState("canary, step 2 of 6, running", {"candidate (version 3)": 0.05}, "ada: try it"),
    )
    text = shown(View("penstock run · ads", "up 3 s", NAMES, [part(n, port=19_103) for n in NAMES], figures))
    for expected in (
        "events in 402/s computed 398/s scored 500/s",
        "p50 18 ms p99 61 ms of 200 predictions",
        "job running",
        "1,200 3.2 s 12 s 500 :19103",
        "drift stuck",
        "drift: 9 records behind, the last progress 130",
        "1m10s grows",
        "canary, step 2 of 6, running",
        "candidate (version 3)",
        "5 %",
        "event.amount",
        "31.5",
        "events.dlq[1]@3",
        "job: InvalidField",
        "amount: too \\x1b[31mlow",
    ):
        assert expected in text, (expected, text)


@pytest.mark.parametrize("width", [80, 104, 120])
def test_on_a_narrow_terminal_nothing_that_counts_is_cut(width: int) -> None:
    names = ("features", "sink-cassandra", "scorer")
    figures = Figures(
        at_ms=0,
        backlogs={"sink-cassandra": Backlog(123_456, 90.0, -100.0, 12_345.0)},
        job="RUNNING",
        alerts=(Alert(1_768_918_575_609, "campaign_delivery.pace_1h", "page_hinkley", 0.0123, 0.0456),),
        letters=(Letter(0, "events.impressions.dlq[2]@1234", "penstock.job", "penstock.UnknownSchema", "no schema"),),
    )
    out = io.StringIO()
    view = View("", "", names, [part(name, port=19_103, restarts=2) for name in names], figures)
    Console(file=out, width=width, color_system=None).print(panel(view, 0, width))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) == min(width, 110)
    text = out.getvalue()
    assert "…" not in text.partition("newest")[2], text
    for expected in (
        "sink-cassandra",
        "123,456",
        "1m30s",
        "20m35s",
        "12,345",
        "page_hinkley",
        "0.0123",
        "@1234   job: Unk",
    ):
        assert expected in text, (expected, text)
    assert ("restarts" in text, ":19103" in text) == (True, width >= 104)


def test_names_and_places_are_shown_as_they_are_although_they_look_like_markup() -> None:
    figures = Figures(
        at_ms=0,
        alerts=(Alert(0, "categories[/x]", "[/psi]", 1.0, 2.0),),
        letters=(Letter(0, "[/b]@3", "penstock.job", "x", "[/i]"),),
        rollout=RolloutState("canary [/c]", {"arm[/d] (version 3)": 0.05}, "[/e]"),
    )
    text = shown(View("[/f]", "[/g]", NAMES, [part("scorer", reason="[/h]", restarts=1)], figures))
    for expected in (
        "categories[/x]",
        "[/psi]",
        "[/b]@3",
        "[/i]",
        "canary [/c]",
        "arm[/d]",
        *map("[/{}]".format, "efgh"),
    ):
        assert expected in text, (expected, text)


def test_parts_that_wait_for_the_same_share_a_line_with_the_next_command() -> None:
    text = shown(View("", "", NAMES, [part("scorer", **NO_MODEL), part("drift", **NO_MODEL)]))
    assert text.count("scorer, drift: waiting, model ads has no version yet") == 1
    assert text.count("next: penstock model train ads") == 1


def test_a_part_that_was_started_again_says_why_and_how_often() -> None:
    text = shown(View("", "", NAMES, [part("scorer", restarts=3, reason="killed by signal 9", next="nothing")]))
    assert "scorer: started again after: killed by signal 9" in text
    assert "next:" not in text


def test_what_is_not_known_or_not_measured_is_said() -> None:
    text = shown(View("", "", NAMES))
    assert "measuring for the first time" in text
    old = Figures(at_ms=0, latency=Latency(1.0, 2.0, 3, 0), problems=("Kafka: Local: Broker transport failure",))
    text = shown(View("", "", NAMES, figures=old))
    assert "the newest of 1m40s ago" in text
    assert "not measured: Kafka: Local: Broker transport failure" in text


@pytest.mark.parametrize(
    ("parts", "figures", "is_idle"),
    [
        ((), Figures(at_ms=0), True),
        ((), Figures(at_ms=0, job="FAILED", problems=("Kafka: no answer",)), True),
        ((), Figures(at_ms=0, job="RESTARTING"), False),
        ((), Figures(at_ms=0, health={"scorer": Health(False, "stuck")}), False),
        (("scorer",), Figures(at_ms=0), False),
        ((), None, False),  # not known yet
    ],
)
def test_if_nothing_is_seen_to_run_the_screen_says_so_and_the_next_command(
    parts: tuple[str, ...], figures: Figures | None, is_idle: bool
) -> None:
    text = shown(View("", "", NAMES, [part(name) for name in parts], figures, "my/ads.py"))
    assert ("nothing of it is seen to run" in text, "next: penstock run my/ads.py" in text) == (is_idle, is_idle)
