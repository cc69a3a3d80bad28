"""`penstock features profile` on backfills and training sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from backfill import topic_reading
from penstock.cli import cli
from penstock.commands.features import profiling
from penstock.kafka.reading import Record
from tests.backfills import write_backfill
from tests.profiles import DAY_MS, FIRST_MS, PIPELINE, PROJECT, training_set

VIEW = {"entity": "c", "epoch": 1, "seq": 1, "as_of": FIRST_MS, "late": False}
ROWS = 400


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "open_project", lambda _: PROJECT)


@pytest.fixture
def backfill(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    records: list[dict[str, Any]] = [
        {
            "event_id": f"t{row}",
            "event_time": FIRST_MS + row * DAY_MS // 10,
            "trigger": "event",
            "attempt": 0,
            "source": {"topic": "events.taps", "partition": 0, "offset": row, "timestamp": 90},
            "event": {"amount": generator.normal() + row % 2, "city": "Graz", "card": "c0ffee", "short": "c0ff"},
            "taps": VIEW
            | {
                "amount_mean_1h": None,
                "large_lifetime": float(row),
                "city_last_1h": "Graz",
                "card_last_1h": "c0ffee",
                "short_last_1h": "c0ff",
                "card_last_k_1h": ["c0ffee"],
            },
        }
        for row in range(ROWS)
    ]
    return write_backfill(PIPELINE, tmp_path / "backfill", records).folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    labels = np.arange(2_000) % 4 == 0
    values = labels + np.random.default_rng(1).normal(size=2_000)
    return training_set(tmp_path / "set", {"event.amount": values}, labels)


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(cli, ["features", "profile", "taps", *map(str, arguments)])


def test_a_backfill_becomes_a_page(backfill: Path, tmp_path: Path) -> None:
    result = run("--backfill", backfill, "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "mean(amount) over 1h, per card" in html
    assert "a backfill of 1970-01-01" in html
    assert "c0ffee" not in html
    assert "are constant" in result.stdout
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["page.html"]


def test_json_is_all_of_the_output(labelled: Path) -> None:
    result = run("--training-set", labelled, "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["task"] == "binary"
    assert content["source"] == "a training set, data 0123456789abcdef"
    assert content["labels"] == {"negative": 1_500, "positive": 500}
    assert content["features"][0]["worth"]["estimate"] > 0.7


def test_two_runs_write_the_same_bytes(labelled: Path, tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        assert run("--training-set", labelled, "--out", tmp_path / name).exit_code == 0
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_columns_choose_what_is_profiled(backfill: Path) -> None:
    result = run("--backfill", backfill, "--json", "--columns", "event.a*", "--columns", "*lifetime")
    assert [one["name"] for one in json.loads(result.stdout)["features"]] == ["event.amount", "taps.large_lifetime"]


def test_the_latest_labels_of_the_topic_show_the_worth(backfill: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def record(offset: int, row: int, fraud: bool, known: int) -> Record:
        value = json.dumps({"id": f"t{row}", "time": known, "fraud": fraud}).encode()
        return Record(partition=0, offset=offset, timestamp=known, key=None, value=value, headers=())

    first = [record(row, row, row % 2 == 0, FIRST_MS) for row in range(ROWS)]  # turned round by the later ones
    later = [record(ROWS + row, row, row % 2 == 1, FIRST_MS + 1) for row in range(ROWS - 100)]
    monkeypatch.setattr(topic_reading, "read_topic", lambda *_, **__: iter([*later, *first]))
    content = json.loads(run("--backfill", backfill, "--labels", "--json").stdout)
    assert content["labels"] == {"negative": 200, "positive": 200}
    (worth,) = [one["worth"] for one in content["features"] if one["name"] == "event.amount"]
    assert worth["labelled"] == ROWS
    assert 0.55 < worth["estimate"] < 0.75


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--json"], "either --backfill or --training-set"),
        (["--json", "--backfill", "{backfill}", "--training-set", "{backfill}"], "either --backfill or"),
        (["--backfill", "{backfill}"], "--out FILE"),
        (["--training-set", "{backfill}", "--labels", "--json"], "--labels goes with --backfill"),
        (["--backfill", "{backfill}", "--source", "folder", "--json"], "--source goes with --labels"),
    ],
)
def test_wrong_usage_is_refused(backfill: Path, arguments: list[str], says: str) -> None:
    result = run(*(one.format(backfill=backfill) for one in arguments))
    assert result.exit_code == 2
    assert says in result.output


def test_a_folder_of_the_other_kind_is_refused(backfill: Path, labelled: Path) -> None:
    result = run("--training-set", backfill, "--json")
    assert "a manifest that is not of a training set" in str(result.exception)
    assert "backfill" in str(run("--backfill", labelled, "--json").exception)


@pytest.mark.parametrize("kind", ["backfill", "training-set"])
def test_a_folder_of_another_pipeline_is_refused(kind: str, backfill: Path, labelled: Path) -> None:
    folder = backfill if kind == "backfill" else labelled
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"pipeline": "trips"}))
    result = run(f"--{kind}", folder, "--json")
    assert "is of pipeline trips, not of taps" in str(result.exception)


def test_a_backfill_of_another_version_says_so(backfill: Path) -> None:
    manifest = json.loads((backfill / "manifest.json").read_text())
    manifest["views"]["taps"] = "9:abc"
    (backfill / "manifest.json").write_text(json.dumps(manifest))
    content = json.loads(run("--backfill", backfill, "--json").stdout)
    assert "what is said of taps is of another version than the backfill's" in content["source"]


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "page.html").write_text("old")
    monkeypatch.setattr(Path, "write_text", fail)
    result = run("--training-set", labelled, "--out", tmp_path / "page.html")
    assert "No space left on device" in str(result.exception)
    assert (tmp_path / "page.html").read_bytes() == b"old"
