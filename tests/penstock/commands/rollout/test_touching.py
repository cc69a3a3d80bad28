"""`penstock rollout touched | rescore` find what was asked for, list it in each form, and say what they would do."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from backfill.corrections import Outcome
from penstock.cli import cli
from penstock.commands.rollout import touching
from penstock.errors import PenstockError
from scoring.rollout.policy import PublishedPolicy, publish
from scoring.rollout.touched import Choice, Window
from scoring.touched_predictions import Period, Place, TouchedPrediction
from tests.penstock.commands.rollout.conftest import SIGNED, World
from tests.scoring.test_touched_predictions import prediction


class Reading:
    """What the commands look for, and the predictions that they find."""

    def __init__(self) -> None:
        self.choice: Choice | None = None
        self.windows: list[Window] = []
        self.period: Period | None = None
        self.cut = False
        self.found: list[TouchedPrediction] = []

    def places_of(self, _kafka: object, _pipeline: object, windows: Sequence[Window], period: Period) -> list[Place]:
        self.windows, self.period = list(windows), period
        return [Place(window, 0, is_cut=self.cut) for window in windows]

    def read_touched(self, *arguments: Any) -> Iterator[TouchedPrediction]:
        self.choice = arguments[2]
        return iter(self.found)

    def finds(self, *says: dict[str, Any]) -> None:
        self.found = [TouchedPrediction(0, 40 + at, 0, None, [], 0, each) for at, each in enumerate(says)]


@pytest.fixture
def reading(world: World, monkeypatch: pytest.MonkeyPatch) -> Reading:
    reading = Reading()
    monkeypatch.setattr(touching, "iterate_log", world.log.iterate)
    monkeypatch.setattr(touching, "read_policy", world.log.read_policy)
    monkeypatch.setattr(touching, "configure_logging", lambda: None)
    monkeypatch.setattr(touching, "places_of", reading.places_of)
    monkeypatch.setattr(touching, "read_touched", reading.read_touched)
    return reading


def try_and_roll_back(world: World) -> PublishedPolicy:
    """Version 2 gets 5 % of the entities, and is rolled back; partition 0 follows."""
    world.apply()
    present = world.present
    tried = publish(present.policy.policy, present.policy, {"present": 0.95, "other": 0.05})
    world.log.write(present.model_copy(update={"policy": tried, "previous": present.policy.hash, "step": 1}))
    world.taken_up(0, 100)
    world.run("rollback", *SIGNED)
    world.taken_up(0, 200)
    return tried


def apart(world: World, *arguments: str) -> Result:
    """Standard output and standard error, each by itself."""
    return CliRunner(mix_stderr=False).invoke(cli, ["rollout", arguments[0], world.reference, *arguments[1:]])


EXPLORED = {"policy": "b" * 12, "arm": "next", "explored": True}


def test_by_default_what_was_rolled_back_last_is_looked_for(world: World, reading: Reading) -> None:
    tried = try_and_roll_back(world)
    output = world.run("touched").output
    assert reading.choice is not None
    assert reading.choice.arms == {tried.hash: {"other"}}
    assert [window[:2] for window in reading.windows] == [(0, 100)]
    assert reading.windows[0].end_offset == 200
    assert "chosen      version 2, rolled back " in output
    assert f"arms        other of {tried.version}\n" in output
    assert "touched     0 predictions of 0 entities\n" in output


@pytest.mark.parametrize(
    "options", [("--version", "2"), ("--arm", "other"), ("--policy", "HASH"), ("--policy", "HASH", "--policy", "HASH")]
)
def test_a_version_an_arm_or_policies_can_be_looked_for(
    world: World, reading: Reading, options: tuple[str, ...]
) -> None:
    tried = try_and_roll_back(world)
    world.run("touched", *(tried.version if each == "HASH" else each for each in options))
    assert reading.choice is not None
    assert reading.choice.arms == {tried.hash: {"other"}}


@pytest.mark.parametrize("options", [("--version", "9"), ("--arm", "none"), ("--policy", "0" * 12)])
def test_what_never_scored_is_refused(world: World, reading: Reading, options: tuple[str, ...]) -> None:
    try_and_roll_back(world)
    with pytest.raises(PenstockError, match=f"no entity was given to {options[0][2:]} {options[1]}") as refused:
        world.run("touched", *options)
    assert refused.value.next == f"penstock rollout history {world.reference}"


def test_one_of_several_policies_that_does_not_exist_is_named(world: World, reading: Reading) -> None:
    tried = try_and_roll_back(world)
    with pytest.raises(PenstockError, match=f"no entity was given to policy {'0' * 12}"):
        world.run("touched", "--policy", tried.version, "--policy", "0" * 12)


def test_without_a_rollback_a_version_must_be_named(world: World, reading: Reading) -> None:
    world.apply()
    with pytest.raises(PenstockError, match="nothing was rolled back") as refused:
        world.run("touched")
    assert "--version N" in (refused.value.next or "")


def test_a_candidate_that_only_scored_in_shadow_has_touched_nothing(world: World, reading: Reading) -> None:
    world.apply()
    world.run("rollback", *SIGNED)
    assert "touched     nothing: no entity was given to it\n" in world.run("touched").output


@pytest.mark.parametrize("options", [("--version", "2", "--arm", "other"), ("--policy", "not hex"), ("--limit", "-1")])
def test_options_that_contradict_each_other_or_are_wrong_are_refused(
    world: World, reading: Reading, options: tuple[str, ...]
) -> None:
    assert world.run("touched", *options).exit_code == click.UsageError.exit_code


def test_a_period_is_when_predictions_were_scored(world: World, reading: Reading) -> None:
    try_and_roll_back(world)
    output = world.run("touched", "--from", "2026-03-01", "--to", "2026-03-02").output
    assert reading.period == (1_772_323_200_000, 1_772_409_600_000)
    options = "--from 2026-03-01T00:00:00.000Z --to 2026-03-02T00:00:00.000Z"
    assert f"next: penstock rollout rescore {world.reference} {options} --dry-run\n" in output


def test_a_table_counts_all_and_lists_the_first(world: World, reading: Reading) -> None:
    try_and_roll_back(world)
    reading.finds(
        prediction(7, entity="card\x1b[2J"),
        prediction(8, decision="pass", rollout=EXPLORED),
        prediction(9, model_version="3", entity=None),
    )
    output = world.run("touched", "--limit", "2").output
    assert "touched     3 predictions of 2 entities, 1 without an entity\n" in output
    assert "partition 0: 3\n" in output
    assert "decisions   block 2, pass 1\n" in output
    assert "by version  4 2, 3 1\n" in output
    assert "explored    1, whose decision is the permissive one\n" in output
    assert "e-0-7  card\\x1b[2J  0@7       0.75   block" in output
    assert "e-0-8  card-8       0@8       0.75   pass (explored)" in output
    assert "e-0-9" not in output
    assert "1 more: --csv lists all\n" in output


def test_csv_has_a_row_for_each_prediction_and_the_counts_are_on_standard_error(world: World, reading: Reading) -> None:
    try_and_roll_back(world)
    reading.finds(prediction(7), prediction(8, entity=None))
    done = apart(world, "touched", "--csv")
    first, second = csv.DictReader(io.StringIO(done.stdout))
    assert first == {
        "event_id": "e-0-7",
        "entity": "card-7",
        "position": "0@7",
        "score": "0.75",
        "decision": "block",
        "explored": "False",
        "model_version": "4",
        "arm": "next",
        "policy": "b" * 12,
        "scored_at": "1970-01-01T00:00:05.007Z",
        "prediction": "0@40",
    }
    assert (second["entity"], second["prediction"]) == ("", "0@41")
    assert done.stderr == "2 predictions of 1 entity, 1 without an entity\n"


@pytest.mark.parametrize(("limit", "listed"), [((), 2), (("--limit", "1"), 1), (("--limit", "0"), 0)])
def test_json_has_the_list_and_the_counts_of_all(
    world: World, reading: Reading, limit: tuple[str, ...], listed: int
) -> None:
    tried = try_and_roll_back(world)
    reading.finds(prediction(7), prediction(8, rollout=EXPLORED))
    found = json.loads(world.run("touched", "--json", *limit).stdout)
    assert [one["event_id"] for one in found.pop("predictions")] == ["e-0-7", "e-0-8"][:listed]
    assert found.pop("chosen").startswith("version 2, rolled back ")
    assert found == {
        "versions": [2],
        "policies": {tried.hash: ["other"]},
        "touched": 2,
        "entities": 2,
        "entities_are_all": True,
        "without_entity": 0,
        "explored": 1,
        "decisions": {"block": 2},
        "model_versions": {"4": 2},
        "partitions": {"0": 2},
        "incomplete_partitions": [],
    }


def test_deleted_predictions_are_warned_of(world: World, reading: Reading) -> None:
    try_and_roll_back(world)
    reading.cut = True
    assert "Kafka has deleted predictions of partition 0: some" in apart(world, "touched").stderr
    assert json.loads(apart(world, "touched", "--json").stdout)["incomplete_partitions"] == [0]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_rescore_says_how_many_decisions_change(
    world: World, reading: Reading, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    tried = try_and_roll_back(world)
    asked: dict[str, Any] = {}

    def rescore(*arguments: Any) -> Iterator[tuple[int, Outcome]]:
        asked.update(published=arguments[2], choice=arguments[3], by=arguments[6] and arguments[6][:2])
        yield 0, Outcome(Counter({("block", "block"): 3, ("block", "pass"): 2}), 7, 8, 9)
        yield 1, Outcome(Counter({("block", "pass"): 1}))

    monkeypatch.setattr(touching, "rescore", rescore)
    output = world.run("rescore", "--version", "2", *(["--dry-run"] if dry_run else SIGNED)).output
    verb = "would be corrected" if dry_run else "corrected"
    beside = "7 corrected before; 9 without a score of the champion; 8 left out, as Kafka has deleted corrections of"
    assert f"partition 0 5 predictions {verb}, 2 with another decision; {beside} their time\n" in output
    assert f"partition 1 1 prediction {verb}, 1 with another decision\n" in output
    assert f"all         6 predictions {verb}, 3 with another decision; {beside} their time, by version 1\n" in output
    assert "block → pass: 3\n" in output
    by = None if dry_run else ("ada", "a try")
    assert asked == {"published": world.present.policy, "choice": asked["choice"], "by": by}
    assert asked["choice"].arms == {tried.hash: {"other"}}
    again = f"next: penstock rollout rescore {world.reference} --version 2 --reason TEXT\n"
    assert output.endswith(again if dry_run else f"the corrections are on {world.pipeline.corrections_topic}\n")


@pytest.mark.parametrize("options", [(), ("--reason", " "), ("--reason", "why", "--author", "controller")])
def test_corrections_need_a_reason_and_an_author(world: World, reading: Reading, options: tuple[str, ...]) -> None:
    try_and_roll_back(world)
    assert world.run("rescore", *options).exit_code == 2
