"""When a part that has ended is started again."""

from __future__ import annotations

import re

import pytest

from penstock.commands.errors import print_error
from penstock.errors import PenstockError
from penstock.paths import ROOT
from penstock.running.restarts import End, Restarts, end_of

CONFIGURATION = End(1, "topic features.x has 3 partitions, not 4")
NO_LEADER = "Flink answered 503: no leader"
OUTAGE = End(1, "Kafka cannot be reached")


def pauses(ends: list[End], *, was_steady: bool = False) -> list[float | None]:
    restarts = Restarts()
    return [restarts.after(end, was_steady=was_steady) for end in ends]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        pytest.param([End(-9)] * 8, [1, 2, 4, 8, 16, 32, 60, 60], id="killed: for ever, at most a minute apart"),
        pytest.param([OUTAGE] * 8, [1, 2, 4, 8, 16, 32, 60, 60], id="a server is away: for as long as it takes"),
        pytest.param([End(1, NO_LEADER)] * 6, [1, 2, 4, 8, 16, 32], id="Flink chooses a leader"),
        pytest.param([End(1)] * 6, [1, 2, 4, 8, 16, 32], id="a traceback: as if killed"),
        pytest.param([End(0)], [1], id="stopped by somebody else"),
        pytest.param([CONFIGURATION] * 5, [1, 2, 4, 8, None], id="the same error five times"),
        pytest.param([CONFIGURATION, End(1, "other")] * 3, [1, 2, 4, 8, 16, 32], id="errors that differ"),
        pytest.param([End(2)], [None], id="wrong usage"),
        pytest.param([End(1, "another process of the same instance has replaced this one")], [None], id="replaced"),
        pytest.param([End(1, "the transactional id is fenced")], [None], id="fenced"),
    ],
)
def test_a_part_is_started_again_after(ends: list[End], expected: list[float | None]) -> None:
    assert pauses(ends) == expected


def test_a_part_that_was_steady_is_started_again_at_once() -> None:
    assert pauses([CONFIGURATION] * 9, was_steady=True) == [1.0] * 9


def test_what_was_given_up_begins_anew_when_told_so() -> None:
    restarts = Restarts()
    for _ in range(5):
        restarts.after(CONFIGURATION, was_steady=False)
    restarts.forget()
    assert restarts.after(CONFIGURATION, was_steady=False) == 1.0


def test_every_error_of_a_fenced_process_is_known_as_one() -> None:
    raised = re.compile(r"(?:InstanceFencedError|Replaced)\(\s*\"(.*?)\"")
    files = [file for folder in ("penstock", "scoring", "streams") for file in (ROOT / folder).rglob("*.py")]
    texts = [text for file in files for text in raised.findall(file.read_text(encoding="utf-8"))]
    assert len(texts) > 2
    assert [text for text in texts if pauses([End(1, text)]) != [None]] == []


def test_the_end_of_a_log_says_how_a_process_ended(capsys: pytest.CaptureFixture[str]) -> None:
    print_error(PenstockError("an older one", next="do that"))
    print_error(PenstockError("it is not loaded\n  | a detail", where="x", safe="all", next="penstock model load ads"))
    log = f"INFO something\n{capsys.readouterr().err}"
    assert end_of(1, log) == End(1, "it is not loaded", "penstock model load ads")
    assert end_of(1, "Traceback\nValueError: error: x\n") == End(1)
    assert end_of(1, "error: \n") == end_of(1, "error:  ") == End(1)
    assert end_of(1, "error: \n  next: penstock up\n") == End(1, None, "penstock up")
    assert end_of(-15, log) == End(-15)
