"""Tries candidates on a stack of its own: ``python -m tests.bench.rollout_trials``, or ``make rollout-trials``.

A scorer and the controller run under a thousand payments a second, each with a label. One candidate after the other is
rolled out by ``penstock rollout apply``: bad ones, which must be stopped by themselves, and good ones, which must be
promoted. Feature records are written as the job writes them; Kafka and Triton are real. The result is
``build/rollout/trials.json``. Exits 1 if a rollout did not end as it must.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from deploy.local.ports import Ports
from deploy.local.stack import Stack
from penstock.paths import BUILD
from tests.bench import command
from tests.bench.rollout_trials.models import candidates
from tests.bench.rollout_trials.trial import Town, Trial, tried_all

_PER_SECOND = 1_000.0
_GOOD, _GOOD_QUICK = 20, 3


def main(arguments: list[str] | None = None) -> int:
    """Run the trials, and write what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rollout_trials", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="each bad model once, and three good ones: five minutes")
    parser.add_argument("--only", default="", metavar="TEXT", help="only candidates whose name begins like this")
    parser.add_argument("--seed", type=int, default=1, help="of payments and good models")
    parser.add_argument("--folder", type=Path, default=BUILD / "rollout", help="where the result and logs go")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder / "stack", Ports.free())
    try:
        stack.up(["kafka", "triton"])
        os.environ.update(stack.environment())
        town = Town(folder, options.seed, _PER_SECOND)
        with town.running():
            some = candidates(options.seed, _GOOD_QUICK if options.quick else _GOOD, quick=options.quick)
            trials = tried_all(town, [one for one in some if one.name.startswith(options.only)], print)
    finally:
        stack.down(wipe=True)
    (folder / "trials.json").write_text(json.dumps(result(trials, quick=options.quick), indent=2) + "\n", "utf-8")
    return 0 if all(trial.is_as_expected for trial in trials) else 1


def result(trials: list[Trial], *, quick: bool) -> dict[str, object]:
    """What ``trials.json`` has."""
    good = [trial for trial in trials if trial.expected == "promoted"]
    return {
        "trials": [asdict(trial) | {"is_as_expected": trial.is_as_expected} for trial in trials],
        "good_models": len(good),
        "false_rollbacks": sum(trial.verdict in ("rolled back", "refused") for trial in good),
        "slowest_rollback_s": max(
            (trial.seconds_to_last_marker for trial in trials if trial.seconds_to_last_marker is not None), default=None
        ),
        "per_second": _PER_SECOND,
        "quick": quick,
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("confluent-kafka", "tritonclient", "numpy", "scipy")},
    }


if __name__ == "__main__":
    command.run(main)
