"""``penstock backfill score``: what it prints, and how it exits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backfill import topic_reading
from penstock.cli import cli
from penstock.commands import backfill_score as module
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from scoring.rollout.policy import PublishedPolicy
from scoring.rollout.policy_log import Logged, Marker, PolicyChange
from tests.archives import archive_records
from tests.backfill.scores.world import FROM, FakeTopics, World
from tests.scoring.line_ups import ab

FILE = """
pipeline: taps
mode: ab
salt: taps/arms
arms:
  - {name: a, version: 1, role: champion, weight: 0.5}
  - {name: b, version: 2, weight: 0.5}
"""
OTHER = FILE.replace("version: 2, weight", "version: 1, weight").replace("version: 1, role", "version: 2, role")


def verdict(number: int) -> dict[str, Any]:
    return {"tap_id": f"tap-{number}", "known_at": FROM, "is_fraud": number % 3 == 0}


class Command:
    """The command in a world; every event is labelled."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.world = folder, World(folder)
        labels = [json.dumps(verdict(number)).encode() for number in range(self.world.size)]
        self.world.topics["labels.taps"] = [Record(0, n, 0, None, value, ()) for n, value in enumerate(labels)]
        self.log: list[Logged] = []
        self.present: PolicyChange | None = None
        read = self.world.fake().read
        whole = {"labels.taps": {0: 0}}
        fake = FakeTopics(
            lambda topic, start=None, end=None: read(topic, start=start or whole[topic], end=end),
            self.world.fake().ranges,
        )
        monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(self.world.repository.root))
        of_archive = topic_reading.topics_of
        monkeypatch.setattr(
            topic_reading, "topics_of", lambda kafka, archive: of_archive(kafka, archive) if archive else fake
        )
        monkeypatch.setattr(topic_reading.KafkaTopics, "names", lambda _: set())
        monkeypatch.setattr(module, "open_project", lambda _: self.world.project)
        monkeypatch.setattr(module, "iterate_log", lambda *_: iter(self.log))
        monkeypatch.setattr(module, "read_policy", lambda *_: self.present)
        monkeypatch.setattr(module, "configure_logging", lambda: None)

    def publish(self, policy: PublishedPolicy) -> None:
        """Publish, and follow, a policy from the first offset of partition 1 on."""
        change = PolicyChange(policy=policy, author="ada", reason="a test", previous=None, time_ms=1)
        marker = Marker(partition=1, first_offset=0, policy=policy.hash)
        self.present = change
        self.log += [Logged(0, 1, change), Logged(1, 1, marker)]

    def file(self, text: str) -> str:
        path = self.folder / "policy.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    def run(self, *options: str, exits: int = 0) -> Result:
        times = ("--from", "2001-09-09T01:46:40", "--to", "2001-09-09T02:03:20")
        arguments = ["backfill", "score", "taps", *times, "--out", str(self.folder / "out"), *options]
        done = CliRunner(mix_stderr=False).invoke(cli, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == exits, done.output
        return done

    def json(self, *options: str, exits: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(*options, "--json", exits=exits).stdout)
        return found


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(tmp_path, monkeypatch)


def test_the_first_run_writes_all_and_the_second_has_nothing_to_do(command: Command) -> None:
    first = command.json("--model", "taps@2")
    second = command.json("--model", "taps@2", exits=99)
    assert (first["model"], first["rows"], first["new_rows"]) == ("taps@2", 39, 39)
    assert second == first | {"new_rows": 0}
    assert "flips" not in first


def test_a_range_that_ends_in_the_future_is_warned_of(command: Command) -> None:
    assert "in the future" not in command.run("--model", "taps@2").stderr
    late = command.run("--model", "taps@2", "--to", "2990-01-01T00:00:00", "--out", str(command.folder / "late"))
    assert "the range ends in the future" in late.stderr


def test_topics_that_kafka_no_longer_has_are_read_from_an_archive(command: Command) -> None:
    command.publish(command.world.policy)
    archive = archive_records(command.folder / "archive", command.world.project, command.world.topics)
    options = ("--policy", command.file(OTHER), "--amount", "event.amount")
    expected = command.json(*options)
    written = {path.name: path.read_bytes() for path in (command.folder / "out").iterdir()}
    shutil.rmtree(command.folder / "out")
    assert command.json(*options, "--source", archive) == expected
    assert {path.name: path.read_bytes() for path in (command.folder / "out").iterdir()} == written


@pytest.mark.parametrize("how", ["1@7", "features.taps[1]@7", "the file"])
def test_the_policy_that_served_flips_nothing(command: Command, how: str) -> None:
    command.publish(command.world.policy)
    found = command.json("--policy", command.file(FILE) if how == "the file" else how)
    assert found["policy"] == command.world.policy.version
    tally = found["flips"]["all"]
    assert (tally["compared"], tally["flipped"], tally["cost"]) == (39, 0, 0)
    assert tally["share"][:2] == [0, 0]
    assert {name: sum(one["compared"] for one in of.values()) for name, of in found["flips"]["by"].items()} == {
        "arm": 39,
        "event.country": 39,
    }


def test_another_policy_shows_its_flips_by_arm_and_group_with_their_cost(command: Command) -> None:
    command.publish(command.world.policy)
    found = command.json("--policy", command.file(OTHER), "--amount", "event.amount")
    tally = found["flips"]["all"]
    assert tally["flipped"] > 5
    labelled = tally["caught"] + tally["blocked"] + tally["let_through"] + tally["freed"]
    assert labelled == tally["flipped"] == tally["labelled_to_positive"] + tally["labelled_to_negative"]
    sums = tally["amounts"]
    assert tally["cost"] == pytest.approx(sums["let_through"] - sums["caught"] + sums["blocked"] - sums["freed"])
    text = command.run("--policy", command.file(OTHER), "--amount", "event.amount", exits=99).stdout
    assert f"{tally['flipped']} decisions of 39 events would be others" in text
    for line in ("all events", "arm a", "arm b", "event.country=DE", "event.country=no value", "to block, wrongly"):
        assert line in text


def test_a_folder_is_gone_on_with_the_policy_as_it_was_begun(command: Command) -> None:
    command.publish(command.world.policy)
    begun = command.json("--policy", command.file(FILE))
    command.publish(ab(1.0))
    assert command.json("--policy", command.file(FILE), exits=99)["policy"] == begun["policy"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "Give one of --model and --policy."),
        (("--model", "taps@1", "--policy", "1@7"), "Give one of --model and --policy."),
        (("--model", "taps"), "'taps' is not NAME@V"),
        (("--policy", "p@7"), "'p@7' is not PARTITION@OFFSET"),
        (("--model", "taps@1", "--into", "topic"), "--topic goes with --into topic."),
        (("--model", "taps@1", "--topic", "scores"), "--topic goes with --into topic."),
        (("--model", "taps@1", "--amount", "event.amount"), "--amount and --gates go with --policy"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(command: Command, options: tuple[str, ...], says: str) -> None:
    assert says in command.run(*options, exits=2).stderr


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ("0@7", "no policy was effective there"),
        ("others[0]@7", "others is not the features topic of the pipeline"),
        ("missing.yaml", "there is no such file"),
    ],
)
def test_a_policy_that_is_not_there_is_an_error(command: Command, policy: str, says: str) -> None:
    with pytest.raises(PenstockError, match=says):
        command.run("--policy", policy)
