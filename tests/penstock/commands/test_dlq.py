"""`penstock dlq`: what it suggests is what the user typed, and what it prints is legible and harmless."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backfill.dead_letters.lanes import Lane, Place, PlacedLetter
from backfill.dead_letters.reading import Found
from penstock.cli import cli
from penstock.commands import dlq as command
from penstock.errors import PenstockError
from schemas.dead_letters import DeadLetter

TOPIC = "events.payments.dlq"
LANE = Lane(TOPIC, "penstock.job", "penstock.InvalidField")
LETTER = DeadLetter(
    "events.payments", 0, 1, "payments", "validate", *LANE[1:], "why", b"k\x1b[2J", b'{"a": "\xc3\xa4"}', (("h", b"1"),)
)


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Found()
    found.lanes[LANE].add(PlacedLetter(Place(TOPIC, 0, 3), 5, LETTER), replayed=False)
    monkeypatch.setattr(command, "find_letters", lambda *_: found)
    monkeypatch.setattr(command, "read_letter_at", lambda _, place: PlacedLetter(place, 5, LETTER))


def dlq(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["dlq", *arguments])


TYPED = ["--topic", TOPIC, "--by", "job", "--reason", "penstock.InvalidField"]


def test_after_a_dry_run_the_same_command_is_suggested() -> None:
    assert dlq("replay", "fraud", *TYPED, "--dry-run").output.endswith(
        f"next: penstock dlq replay fraud {' '.join(TYPED)}\n"
    )


def test_the_list_suggests_a_dry_run_of_what_it_listed() -> None:
    assert dlq("list", "fraud", "--by", "job").output.endswith("; penstock dlq replay fraud --by job --dry-run\n")


def test_a_replay_knows_the_command_that_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, Any] = {}

    def replay(_project: object, _settings: object, lanes: Any, typed: str, _console: object) -> Any:
        called.update(lanes=lanes, typed=typed)
        return iter([(LANE, Counter({"put back": 1}))])

    monkeypatch.setattr(command, "replay_lanes", replay)
    assert dlq("replay", "fraud", *TYPED).output == f"{LANE}: 1 put back\n"
    assert called == {"lanes": {LANE: 1}, "typed": f"penstock dlq replay fraud {' '.join(TYPED)}"}


@pytest.mark.parametrize("option", ["--topic", "--by", "--reason"])
def test_an_option_that_chooses_nothing_is_named(option: str) -> None:
    error = dlq("replay", "fraud", option, "Nothing").exception
    assert isinstance(error, PenstockError)
    assert error.what == f"{option} Nothing chooses no dead letter"
    assert error.where is not None
    assert error.where.startswith("there are: ")
    assert error.next == f"give {option} one of these; penstock dlq list fraud"


def test_a_letter_is_shown_without_escaped_quotes_and_without_what_controls_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "letter_topics", lambda _: [TOPIC])
    output = dlq("show", "fraud", f"{TOPIC}[0]@3").output
    assert 'value    {"a": "ä"}\n' in output
    assert "key      k\\x1b[2J\n" in output
    assert "headers  h=1\n" in output
