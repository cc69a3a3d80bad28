"""Rollouts under traffic: bad candidates are rolled back by themselves, a good one is promoted (quick form).

``make rollout-trials`` tries each kind of bad candidate, and twenty good ones.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.bench.rollout_trials import models
from tests.bench.rollout_trials.trial import Town, tried_all

CANDIDATES = (
    models.Candidate("NaN", models.nan(), "canary", "stopped"),
    models.Candidate("inverted scores", models.inverted(), "canary", "stopped"),
    models.Candidate("good", models.good(np.random.default_rng(1)), "shadow", "promoted"),
)


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("stack_environment")
def test_bad_candidates_are_rolled_back_by_themselves_and_a_good_one_is_promoted(tmp_path: Path) -> None:
    town = Town(tmp_path, seed=1, per_second=500)
    with town.running():
        trials = tried_all(town, CANDIDATES, print)
    assert [trial for trial in trials if not trial.is_as_expected] == []
    assert all(trial.users_touched > 0 for trial in trials)
