"""`penstock labels status` on the command line: what it prints, and what it exits with."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from backfill import topic_reading
from penstock.cli import cli
from penstock.commands import labels as commands
from penstock.errors import PenstockError
from tests.backfill.training_sets.worlds import OPINIONS, Event, Label, World

MINUTE = 60_000
EVENTS = [Event(f"e{n}", n * MINUTE, 0, score=0.9 if n % 9 == 0 else 0.1) for n in range(1_000)]
FRAUDS = [n for n in range(900) if n % 5 == 0]
DECLARED = {"horizon": "1h", "absent": "negative", "hidden_by": "block"}
WORLD = World(EVENTS, [Label(f"e{n}", (n + 30) * MINUTE, True, 10**9) for n in FRAUDS], DECLARED)
Status = Callable[..., Result]


@pytest.fixture
def status(monkeypatch: pytest.MonkeyPatch) -> Status:
    """Runs the command on the world's records, in the place of Kafka's."""

    def run(*options: str, world: World = WORLD) -> Result:
        monkeypatch.setattr(commands, "open_project", lambda _: world.project())
        monkeypatch.setattr(topic_reading, "read_topic", lambda _, topic, **__: world.records(topic))
        return CliRunner().invoke(cli, ["labels", "status", "taps", "--period", "6h", *options])

    return run


def test_it_says_what_has_come_and_how_late(status: Status) -> None:
    done = status()
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0] == "labels    labels.taps: binary, final after 1h, no label means negative"
    # The last label is known at minute 925, so events up to minute 865 are an hour old.
    assert lines[1] == "events    1,000 events of the predictions topic, 134 wait until they are old enough"
    assert lines[2] == "labelled  174 (174 positive)"
    assert lines[3] == "no label  692, and 0 whose label was withdrawn; of both, 77 were decided block"
    assert "share with a label by age, of 866 events of at least 1h:" in done.output
    assert "│  1h │ 20.09 % │ 100.00 % │" in done.output
    assert "same" in done.output


def test_ages_that_were_measured_are_told_in_units_a_person_reads(status: Status) -> None:
    labels = [Label(f"e{n}", (n + 90) * MINUTE + 59_999, True, 10**9) for n in FRAUDS]
    output = status(world=World(EVENTS, labels, {})).output
    assert "events of at least 91 min:" in output
    assert "│ 91 min │" in output


def test_json_is_one_object(status: Status) -> None:
    found = json.loads(status("--json").output)
    assert (found["horizon_ms"], found["absent"], found["hidden_by"]) == (60 * MINUTE, "negative", "block")
    assert found["events"] == {
        "events": 1_000, "waiting": 134, "labelled": 174, "withdrawn": 0, "unlabelled": 692, "hidden": 77
    }  # fmt: skip
    assert found["arrival"][-1] == {"age_ms": 60 * MINUTE, "labelled": 0.200924, "classes": {"positive": 1.0}}
    assert {change["what"] for change in found["changes"]} == {"labelled", "in time", "early"}
    assert found["changes"][0]["before"] == {"hits": 72, "of": 360}


def test_labels_that_stop_coming_exit_with_3(status: Status) -> None:
    few = [label for label in WORLD.labels if label.known_at < 600 * MINUTE or label.id == "e895"]
    done = status(world=World(EVENTS, few, DECLARED))
    assert done.exit_code == 3
    assert "changed" in done.output


def test_no_label_at_all_exits_with_3_and_says_so(status: Status) -> None:
    done = status(world=World(EVENTS, [], DECLARED))
    assert done.exit_code == 3
    assert "no label has come" in done.output


def test_no_event_exits_with_99_and_says_what_to_try(status: Status) -> None:
    done = status("--from", "2026-01-01")
    assert done.exit_code == 99
    assert done.output.splitlines()[-1].endswith("or --events features if nothing was scored yet")


def test_a_range_that_ends_before_it_begins_is_wrong_usage(status: Status) -> None:
    assert status("--from", "2026-01-02", "--to", "2026-01-01").exit_code == 2


def test_a_pipeline_without_labels_is_an_error_that_says_how_to_declare_them(monkeypatch: pytest.MonkeyPatch) -> None:
    project = WORLD.project()
    bare = project.pipeline.model_copy(update={"labels": None})
    monkeypatch.setattr(commands, "open_project", lambda _: type(project)(**{**vars(project), "pipeline": bare}))
    done = CliRunner().invoke(cli, ["labels", "status", "taps"])
    assert isinstance(done.exception, PenstockError)
    assert "labels=Labels(" in str(done.exception.next)


def test_of_several_sources_it_says_what_each_has_come_to(status: Status) -> None:
    # The second source contradicts every other fraud, and knows of one event more.
    opinions = [Label(f"e{n}", (n + 10) * MINUTE, n % 2 == 0, 10**9, source=1) for n in (*FRAUDS, 7)]
    world = World(EVENTS, [*WORLD.labels, *opinions], DECLARED | {"otherwise": (OPINIONS,)})
    done = status(world=world)
    assert done.output.startswith("labels    labels.taps, labels.opinions: binary")
    table = [line for line in done.output.splitlines() if "labels." in line][1:]
    assert [[cell.strip() for cell in line.strip("│").split("│")][4:] for line in table] == [
        ["174", "0", "0"],
        ["1", "174", "87"],
    ]
    sources = json.loads(status("--json", world=world).output)["sources"]
    assert [(one["topic"], one["read"], one["events"]) for one in sources] == [
        ("labels.taps", 180, 174),
        ("labels.opinions", 181, 1),
    ]
