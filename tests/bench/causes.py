"""Names the causes of injected worlds: ``python -m tests.bench.causes [--seeds N]`` writes ``build/bench/causes.json``.

The worlds of ``tests/loop/worlds.py``: features that wander by themselves, a model trained on them, and one cause each,
of random strength. The seeds are not those on which the rules were tried while they were written.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from tests.bench.command import run
from tests.loop.worlds import injected, verdict_of

_FIRST_SEED = 200


def main(arguments: list[str] | None = None) -> int:
    """Diagnose all worlds, and write how many were right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="worlds of each kind")
    parser.add_argument("--out", type=Path, default=Path("build/bench/causes.json"))
    options = parser.parse_args(arguments)
    kinds: dict[str, Counter[str]] = {}
    right = worlds = 0
    for seed in range(_FIRST_SEED, _FIRST_SEED + options.seeds):
        for name, cause, before, now in injected(seed):
            found = verdict_of(before, now).cause
            kinds.setdefault(f"{name} ({cause})", Counter())[found] += 1
            worlds += 1
            right += found == cause
    result = {
        "worlds": worlds,
        "right": right,
        "share": round(right / worlds, 4),
        "seeds": [_FIRST_SEED, _FIRST_SEED + options.seeds],
        "kinds": {name: dict(found) for name, found in kinds.items()},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=2) + "\n")
    for name, found in result["kinds"].items():
        print(f"{name:52} {', '.join(f'{cause} {number}' for cause, number in found.items())}")
    print(f"{right} of {worlds} causes are right: {options.out}")
    return 0


if __name__ == "__main__":
    run(main)
