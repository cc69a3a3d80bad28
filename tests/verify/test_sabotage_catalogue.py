"""Mutants of a run that has nothing of what they change."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from streams.plan.project import Project
from tests.verify.sabotage import features, predictions, replays, updates
from tests.verify.sabotage.catalogue import Change, NothingToChangeError
from verify.run_data import RunData

NO_PROJECT = cast("Project", None)
EMPTY = RunData(sources=((), ()), dead_letters=(), features=(), predictions=(), cassandra={}, models=Path("models"))


@pytest.mark.parametrize(
    ("mutant", "lacks"),
    [
        (features.all_timers_lost, "timer's record"),
        (updates.an_updating_event_that_no_record_names, "two updating events which no other record names"),
        (updates.an_updating_event_that_no_window_counted, "refund that was sent twice"),
        (predictions.a_re_emitted_vector_scored_instead_of_the_first, "event that was emitted again"),
        (replays.a_count_of_replays_that_is_forged, "event that was put back"),
    ],
)
def test_a_mutant_says_what_the_run_lacks_of_what_it_changes(mutant: Change, lacks: str) -> None:
    with pytest.raises(NothingToChangeError, match=f"the recorded run has no .*{lacks}"):
        mutant(NO_PROJECT, EMPTY)
