"""The mutants of the offline half on small worlds: each is found by the tool whose task it is.

tests/integration/test_sabotage.py has the same mutants of a recorded run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from backfill.parity.check import check_parity
from backfill.parity.sources import Range
from penstock.errors import PenstockError
from penstock.kafka.reading import Record
from schemas.history import record_decoder
from sinks.archive.checking import check
from streams.inprocess.features_of import shared_kernel
from streams.plan.project import Project
from tests.backfill.parity import worlds
from tests.backfill.parity.test_check import payments
from tests.backfill.training_sets.test_build import DECLARED, events, labels
from tests.backfill.training_sets.worlds import OPINIONS, Event, Label, World
from tests.sinks.archive.archive_helpers import HOUR, TOPIC, archive_all, event_columns, folder, record
from tests.sinks.payments import T0
from tests.verify.sabotage.archive import ARCHIVE_MUTANTS, ArchiveMutant
from tests.verify.sabotage.catalogue import Mutant
from tests.verify.sabotage.parity import PARITY_MUTANTS, ParityMutant
from tests.verify.sabotage.training_sets import LABEL_SOURCE_MUTANTS, TRAINING_SET_MUTANTS
from verify.check_built_sets import BuiltSetFindings, check_built_sets
from verify.labels import LabelHistory, label_history
from verify.published import readable
from verify.reading import read_backfill_data, read_built_set
from verify.run_data import RunData


def _name(mutant: ArchiveMutant | Mutant | ParityMutant) -> str:
    return mutant.name


# --- archive


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Batches of three records, over hours, some of which cannot be decoded."""
    archive_all(folder(tmp_path), [record(n, timestamp=T0 + n // 8 * HOUR) for n in range(20)], sizes=(7, 3))
    return tmp_path


COLUMNS = {TOPIC: event_columns()}


def test_a_good_archive_can_be_decoded_again(archive: Path) -> None:
    checked = check(folder(archive), columns=COLUMNS)
    assert (checked.findings, checked.rows[TOPIC], checked.not_decoded[TOPIC]) == ([], 20, 0)


@pytest.mark.parametrize("mutant", ARCHIVE_MUTANTS, ids=_name)
def test_a_mutant_of_an_archive_is_found(mutant: ArchiveMutant, archive: Path) -> None:
    storage = folder(archive)
    mutant.change(storage)
    assert mutant.found_as in {finding.kind for finding in check(storage, columns=COLUMNS).findings}
    if mutant.found_as == "wrong columns":
        assert check(storage).findings == [], "only --deep can find it"


# --- training sets


def world() -> World:
    """Events with labels in time, too late, and none; decisions that hide outcomes, and explored ones."""
    of_events = [
        Event(
            f"e{n}",
            n,
            n + n % 3,
            (n / 7, float(n % 5), None if n % 4 else n / 3),
            timestamp=n,
            score=0.9 if n % 5 == 0 else 0.1,
            explored=n % 10 == 0,
            propensity=0.01 if n % 10 == 0 else 0.99,
            scored_at=n,
        )
        for n in range(120)
    ]
    of_labels = [Label(f"e{n}", n + (1, 9, 30)[n % 3], n % 2 == 0) for n in range(100) if n % 7]
    # Another source that says the contrary, also of events of which the first one says nothing, or not in time.
    of_labels += [Label(f"e{n}", n + 2, n % 2 == 1, source=1) for n in range(100) if n % 4 == 0]
    declared = {"horizon": 10, "absent": "negative", "hidden_by": "block", "otherwise": (OPINIONS,)}
    return World(of_events, [*of_labels, Label("end", 110, True)], declared)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, RunData]:
    """A set of each kind."""
    made, path = world(), tmp_path_factory.mktemp("sets")
    made.build(path / "recomputed", embargo=True)
    made.build(path / "served", served=True, until_ms=105, from_ms=20)
    return run_of(made, path, "recomputed", "served")


def run_of(made: World, path: Path, *names: str) -> tuple[Project, RunData]:
    declared = made.project().pipeline.labels
    predictions, _ = readable(made.records("predictions.taps"), record_decoder("prediction"), "predictions")
    run = RunData(
        sources=((),),
        dead_letters=((),),
        features=(),
        predictions=predictions,
        labels=[list(made.records(topic)) for topic in (declared.topics if declared else ())],
        backfills=[read_backfill_data(path / "recomputed-backfill")],
        built_sets=[read_built_set(path / name) for name in names],
    )
    return made.project(), run


def judged(project: Project, run: RunData) -> BuiltSetFindings:
    declared = project.pipeline.labels
    assert declared is not None

    def read(records: Sequence[Sequence[Record]]) -> LabelHistory:
        return label_history(declared, records, project.schemas)

    return check_built_sets(project, run, read)


def test_good_training_sets_are_built_again(built: tuple[Project, RunData]) -> None:
    found = judged(*built)
    assert (found.sets, found.checked, found.examples, found.unchecked) == (2, 2, [], [])
    rows = built[1].built_sets[0].rows
    assert {*rows["split"].to_pylist()} == {"train", "validation", "test", "embargo"}
    assert {*rows["p_observed"].to_pylist()} == {None, 0.01, 1.0}
    assert {*rows["label_source"].to_pylist()} == {None, "labels.taps", "labels.opinions"}


@settings(max_examples=10, deadline=None)
@given(st.data(), st.sampled_from(DECLARED), st.none() | st.integers(0, 12))
def test_any_training_set_is_the_one_that_the_verifier_builds(
    data: st.DataObject, declared: dict[str, Any], until_ms: int | None
) -> None:
    ids = st.sampled_from("abcdé")
    made = World(
        data.draw(st.lists(events(ids), min_size=1, max_size=12)),
        data.draw(st.lists(labels(ids), max_size=12)),
        declared,
    )
    with TemporaryDirectory() as path:
        try:
            made.build(Path(path) / "recomputed", until_ms=until_ms, embargo="horizon" in declared)
        except PenstockError:
            assume(False)
        made.build(Path(path) / "served", until_ms=until_ms, served=True)
        found = judged(*run_of(made, Path(path), "recomputed", "served"))
    assert (found.checked, found.examples) == (2, [])


@pytest.mark.parametrize("mutant", [*TRAINING_SET_MUTANTS, *LABEL_SOURCE_MUTANTS], ids=_name)
def test_a_mutant_of_a_training_set_is_found(mutant: Mutant, built: tuple[Project, RunData]) -> None:
    found = judged(built[0], mutant.change(*built))
    assert found.unchecked if mutant.found_by == ("unchecked",) else found.mismatches, found


# --- parity


@pytest.mark.parametrize("mutant", [None, *PARITY_MUTANTS], ids=lambda mutant: mutant.name if mutant else "none")
def test_a_mutant_of_what_was_served_has_no_cause(mutant: ParityMutant | None, tmp_path: Path) -> None:
    served = worlds.run(payments(), tmp_path)
    sources = served.sources()
    changed = sources if mutant is None else mutant.change(served.project, sources)
    found = check_parity(served.project, changed, Range(0, 2**60), shared_kernel())
    assert (found.unexplained > 0) == (mutant is not None)
