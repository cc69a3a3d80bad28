"""`penstock model promote` loads what the gates pass, and names the gate that refuses; the registry shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backfill import judging
from penstock.cli import cli
from penstock.commands.model import promotion, versions
from penstock.commands.model.manifests import print_line
from penstock.errors import PenstockError
from penstock.settings import Settings
from penstock.time import readable
from scoring.alias_history import Cause, record_configured
from scoring.gates import gates
from scoring.gates.gates import Verdict
from scoring.gates.report import Basis, Report
from scoring.gates.statistics import Interval
from scoring.gates.stored_reports import stored_reports
from scoring.repository import ModelRepository
from scoring.trained_model import TrainedModel
from scoring.version_files import identity
from tests.scoring.fake_server import FakeServer
from tests.scoring.scorer_bench import define, manifest_of, onnx_bytes


class World:
    """A pipeline with two versions, of which the first is served, and gates that say what they are told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, pipeline = define(folder, "promote", partitions=1)
        self.name, self.folder = pipeline.model.name, folder
        self.repository = ModelRepository(folder / "models")
        for seed in range(2):
            manifest = manifest_of(pipeline).model_copy(update={"seed": seed})
            self.repository.add(self.name, TrainedModel(onnx_bytes(), None, manifest))
        record_configured(self.repository, self.name, Cause("train", time_ms=1))
        self.verdict = Verdict.PASS
        monkeypatch.setenv("PENSTOCK_MODEL_REPOSITORY", str(self.repository.root))
        assert Settings().model_repository == self.repository.root
        monkeypatch.setattr(judging, "check_version", self._check)
        monkeypatch.setattr(promotion, "read_backfill", lambda _: None)
        for module in (promotion, versions):
            monkeypatch.setattr(module, "open_server", lambda *_: FakeServer())

    def _check(self, *arguments: Any) -> Report:
        request = arguments[-2]
        own = identity(self.repository.folder(self.name, request.version))
        result = gates.Result("quality", "slice 2 of 5", self.verdict, 9, "loss", Interval(3, 2, 4), "at most 1")
        ignored = gates.Result("calibration", "", Verdict.NOT_JUDGED, 9, "not for this", Interval(3, 2, 4), "any")
        basis = Basis(own, None, "l", "b", "h", 0.5, 0, "1")
        return Report(self.name, request.version, 1, 9, [result, ignored], basis=basis)

    def run(self, command: str, *arguments: str) -> Result:
        done = CliRunner().invoke(cli, ["model", command, self.file, *arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done

    def promote(self, *arguments: str) -> Result:
        return self.run("promote", "2", "--backfill", str(self.folder), *arguments)

    def listed(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(self.run("list", "--json").output)
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_version_whose_gates_pass_is_loaded_on_its_report(world: World) -> None:
    done = world.promote()
    assert done.exit_code == 0
    assert f"serves {world.name} version 2, version 1 stays loaded" in done.output
    (report,) = stored_reports(world.repository, world.name, 2).values()
    assert [one["aliases"] for one in world.listed()] == [["previous"], ["champion"]]
    changes = json.loads(world.run("history", "--json").output)
    assert [(one["alias"], one["from"], one["to"], one["command"], one["report"]) for one in changes[1:]] == [
        ("champion", 1, 2, "promote", report["hash"]),
        ("previous", None, 1, "promote", report["hash"]),
    ]


def test_the_history_says_that_the_first_version_is_to_be_loaded_and_when_it_was(world: World) -> None:
    assert "champion none → 1 by train, to be loaded" in world.run("history").output
    world.run("promote", "1", "--backfill", str(world.folder))
    assert "champion 1 → 1 by promote, report " in world.run("history").output


def test_the_history_shows_what_its_file_lacks(world: World) -> None:
    (world.repository.root / world.name / "history.jsonl").write_text('{"torn')
    text = world.run("history").output
    assert "champion none → 1 before this time, by a command that is not known" in text
    assert "the file of the history lacks the last of it" in text
    world.promote()
    assert "lacks" not in world.run("history").output
    assert "champion none → 1 before this time, by a command that is not known" in world.run("history").output


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.FAIL, 10), (Verdict.INCONCLUSIVE, 11)])
def test_a_refusal_names_the_gate_what_it_measured_and_what_would_pass(
    world: World, verdict: Verdict, code: int
) -> None:
    world.verdict = verdict
    done = world.promote()
    assert done.exit_code == code
    assert f"quality (slice 2 of 5) {verdict.value}: loss 3 (2 to 4); would pass: at most 1" in done.output
    assert done.output.count("would pass") == 1, "what is not judged is not in the way"
    assert f"promote {world.file} 2 --backfill {world.folder} --override" in done.output
    assert [one["aliases"] for one in world.listed()] == [["champion"], ["candidate"]]


def test_a_refusal_repeats_the_gates_that_were_given(world: World) -> None:
    world.verdict, gates_file = Verdict.FAIL, world.folder / "my gates.toml"
    gates_file.touch()
    said = world.promote("--gates", str(gates_file)).output
    assert f"--backfill {world.folder} --gates '{gates_file}' --override" in said


def test_a_label_longer_than_its_column_is_apart_from_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    print_line("view card_habits1", "e287:1")
    print_line("made", "today")
    assert capsys.readouterr().out.splitlines() == ["view card_habits1 e287:1", "made          today"]


def test_an_override_is_recorded_and_shown_wherever_the_version_is(world: World) -> None:
    world.verdict = Verdict.FAIL
    assert world.promote("--override", "the old one is broken").exit_code == 0
    page = world.folder / "card.html"
    world.run("card", "2", "--out", str(page))
    for text in (
        world.run("list").output,
        world.run("show", "2").output,
        world.run("history").output,
        page.read_text(encoding="utf-8"),
    ):
        assert "overridden: the old one is broken" in text


def test_a_reason_is_not_recorded_where_nothing_was_overridden(world: World) -> None:
    world.promote("--override", "to be sure")
    assert world.listed()[1]["override"] is None


def test_a_stored_report_that_says_otherwise_stops_the_promotion(world: World) -> None:
    world.verdict = Verdict.FAIL
    world.promote()
    (path,) = (world.repository.root / world.name / "reports" / "2").iterdir()
    path.write_text(path.read_text().replace('"fail"', '"pass"'))
    with pytest.raises(PenstockError, match="does not hold: its hash is not that of its content") as promoted:
        world.promote("--override", "x")
    assert promoted.value.where == str(path)
    made = readable(int(path.name.partition("-")[0]), "seconds", zone=" UTC")
    assert f"who changed the report of {made}, delete its file, and: penstock model check" in str(promoted.value)
    assert "the report does not hold" in world.run("list").output
    with pytest.raises(PenstockError) as shown:
        world.run("card", "2", "--out", str(world.folder / "card.html"))
    assert str(shown.value) == str(promoted.value)


def test_show_has_all_of_the_manifest_and_refuses_a_changed_file(world: World) -> None:
    text = world.run("show", "1").output
    assert "champion" in text
    assert "activity.amount_sum_1h" in text
    (world.repository.folder(world.name, 1) / "model.onnx").write_bytes(b"")
    with pytest.raises(Exception, match=r"file model\.onnx of the version has changed"):
        world.run("show", "1")


def test_versions_are_compared_side_by_side(world: World) -> None:
    text = world.run("compare", "1", "2").output
    assert "version 1" in text
    assert "version 2" in text
    assert json.loads(world.run("compare", "1", "2", "--json").output)["losses"] == []
    compared = json.loads(world.run("compare", "1", "2", "--json").output)
    assert compared["versions"].keys() == {"1", "2"}


def test_a_comparison_asks_nothing_of_the_triton_that_serves(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    skipped: list[tuple[str, ...]] = []

    def check(*arguments: Any) -> Report:
        skipped.append(arguments[-2].limits.skip)
        return world._check(*arguments)

    monkeypatch.setattr("backfill.model_check.check_version", check)
    assert "quality" in world.run("compare", "1", "2", "--backfill", str(world.folder)).output
    assert [{"fairness", "latency"} <= {*each} for each in skipped] == [True]


def test_a_version_of_another_repository_is_registered(world: World) -> None:
    folder = world.repository.folder(world.name, 2)
    elsewhere = folder.rename(world.folder / "made")
    done = world.run("register", str(elsewhere))
    assert f"{world.name} version 2" in done.output


def test_a_promotion_while_scorers_follow_a_rollout_policy_says_that_they_go_on_with_it(world: World) -> None:
    world.repository.configure(world.name, 1, rollout=(2,))
    output = world.promote().output
    assert "scorers follow a rollout policy, not the current version; for it, version 1, 2 stays loaded" in output
    assert f"penstock rollout show {world.file}" in output
