"""Every training leaves its lines, whatever ends it, and no training fails because of them."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

from penstock.errors import PenstockError
from penstock.paths import ROOT
from scoring.repository import ModelRepository
from scoring.trained_model import Provenance
from scoring.trainings import Found, Training, as_content, read_trainings, recorded
from tests.scoring.test_repository import trained

VALIDATION = trained().manifest.validation
ORIGIN = Provenance(made_ms=1_000, author="ada", penstock="1", environment="e")


def training(name: str = "t1", **changes: object) -> Training:
    fields = {"id": name, "provenance": ORIGIN, "backfill": "march", "seed": 7, "until_ms": 900, "with_defaults": False}
    return Training.model_validate({**fields, "trainer": "mine:train", **changes})


def ticks() -> Iterator[int]:
    return count(2_500, 1_000)


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    return ModelRepository(tmp_path / "models")


def fail(repository: ModelRepository, error: BaseException, found: Found | None = None) -> Training:
    with suppress(type(error)), recorded(repository, "m", training(), ticks().__next__) as own:
        vars(own).update(vars(found or Found()))
        raise error
    return read_trainings(repository, "m")[-1]


def test_a_training_that_made_a_version_has_its_parameters_metrics_and_time(repository: ModelRepository) -> None:
    with recorded(repository, "m", training(), ticks().__next__) as found:
        found.data_hash, found.validation, found.version = "00ff", VALIDATION, 3
    (one,) = read_trainings(repository, "m")
    assert one == training(ended_ms=2_500, data_hash="00ff", validation=VALIDATION, version=3)
    content = as_content(one)
    assert (content["outcome"], content["began_ms"], content["took_s"]) == ("made a version", 1_000, 1.5)
    assert (content["seed"], content["provenance"]["environment"]) == (7, "e")


def test_a_training_that_failed_says_why_and_how_far_it_came(repository: ModelRepository) -> None:
    one = fail(repository, PenstockError("too few\nlabels", where="a file"), Found(validation=VALIDATION))
    assert (one.outcome, one.error, one.validation, one.version) == ("failed", "too few labels", VALIDATION, None)


def test_the_error_goes_on_to_the_user(repository: ModelRepository) -> None:
    with pytest.raises(ValueError, match="mine"), recorded(repository, "m", training(), ticks().__next__):
        raise ValueError("mine")


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (ValueError("could not convert 'ada@example.org'"), "ValueError"),
        (PenstockError("it failed: 'ada@example.org'", kept="it failed: ValueError"), "it failed: ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_values_of_records_are_not_kept(error: BaseException, kept: str, repository: ModelRepository) -> None:
    assert fail(repository, error).error == kept
    assert "ada@example.org" not in (repository.root / "m" / "trainings.jsonl").read_text(encoding="utf-8")


def test_trainings_at_the_same_time_are_in_the_order_in_which_they_began(repository: ModelRepository) -> None:
    clock = ticks().__next__
    with recorded(repository, "m", training("first"), clock):
        with recorded(repository, "m", training("second"), clock):
            assert [one.outcome for one in read_trainings(repository, "m")] == ["not ended", "not ended"]
        assert [one.outcome for one in read_trainings(repository, "m")] == ["not ended", "failed"]
    assert [one.id for one in read_trainings(repository, "m")] == ["first", "second"]


def test_a_training_whose_process_is_killed_has_no_end(repository: ModelRepository) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from scoring.repository import ModelRepository\n"
        "from scoring.trainings import recorded\n"
        "from tests.scoring.test_trainings import training\n"
        "with recorded(ModelRepository(Path(sys.argv[1])), 'm', training(), lambda: 0):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", program, str(repository.root)]
    done = subprocess.run(command, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == -signal.SIGKILL
    (one,) = read_trainings(repository, "m")
    assert (one, one.outcome, one.took_s) == (training(), "not ended", None)


def test_a_training_goes_on_where_its_lines_cannot_be_written(
    repository: ModelRepository, caplog: pytest.LogCaptureFixture
) -> None:
    (repository.root / "m" / "trainings.jsonl").mkdir(parents=True)
    with caplog.at_level(logging.WARNING), recorded(repository, "m", training(), ticks().__next__) as found:
        found.version = 1
    assert len(caplog.messages) == 2
    assert "the training goes on" in caplog.text


def test_a_training_goes_on_behind_a_line_that_is_none(repository: ModelRepository) -> None:
    (repository.root / "m").mkdir(parents=True)
    (repository.root / "m" / "trainings.jsonl").write_text("nonsense\n", encoding="utf-8")
    with recorded(repository, "m", training(), ticks().__next__):
        pass
    with pytest.raises(PenstockError, match="a line that is no training"):
        read_trainings(repository, "m")


def test_a_model_that_was_never_trained_has_none(repository: ModelRepository) -> None:
    assert read_trainings(repository, "m") == []
    (repository.root / "m").mkdir(parents=True)
    assert ModelRepository(repository.root).versions("m") == []
