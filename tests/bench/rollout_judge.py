"""Simulates canaries of good and bad candidates, and what the judge makes of them.

``python -m tests.bench.rollout_judge`` prints how the rollouts end, and writes ``rollout_judge.json``. Everything but
Kafka and the models is real: policies, assignment, guardrails, decisions. Time is simulated.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from penstock.paths import BUILD
from scoring.rollout.assignment import assign
from scoring.rollout.facts import Facts
from scoring.rollout.judge import Judge
from scoring.rollout.observations import Label, Live, Shadow
from scoring.rollout.policy import Arm, RolloutPolicy, publish
from scoring.rollout.policy_log import PolicyChange, Refusal
from streams.definitions.rollout import Rollout, Step
from tests.bench import command

Numbers = NDArray[np.float64]

PER_SECOND = 10
GROUPS = 4
_PARTITIONS = 4
_LOOK_S = 60
_LOOK_AT_BAD_S = 5
_MS = 1_000
# Of twenty events, one is of an entity that has been seen.
_NEW = 0.95
_NOISE = 0.3


@dataclass(frozen=True)
class Events:
    """Simulated events, as columns of length N.

    Attributes:
        logit: Of the probability that the event is positive: 8 % are.
        label: Whether it is.
        group: One of four, equally frequent.
        noise: What the champion, and what the candidate, does not know of the logit, [2, N].
    """

    logit: Numbers
    label: Numbers
    group: Numbers
    noise: Numbers

    @classmethod
    def draw(cls, rng: np.random.Generator, n: int) -> Events:
        """Events by chance."""
        logit = rng.normal(-4.0, 2.2, n)
        label = (rng.random(n) < special.expit(logit)).astype(np.float64)
        own, other = rng.normal(size=(2, n))
        # What one model trained on the same data does not know, the other hardly does, either.
        noise = np.stack([own, 0.9 * own + np.sqrt(1 - 0.9**2) * other])
        return cls(logit, label, rng.integers(0, GROUPS, n).astype(np.float64), noise)


Scores = Callable[[Events], Numbers]


@dataclass(frozen=True)
class Candidate:
    """A model that is tried.

    Attributes:
        scores: Its scores; NaN where it gives none.
        slower: By what the time of each of its calls is multiplied.
        is_late: Whether it never answers in time.
        refused: Whether a scorer cannot load it.
        look_s: How often the judge decides, in seconds: seldom if it takes long.
    """

    scores: Scores
    slower: float = 1.0
    is_late: bool = False
    refused: bool = False
    look_s: int = _LOOK_AT_BAD_S


def noisy(noise: float) -> Scores:
    """Calibrated about as well as the champion, with that much noise."""
    return lambda events: special.expit(events.logit + noise * events.noise[1])


def _shifted(by: float) -> Scores:
    return lambda events: special.expit(events.logit + by + _NOISE * events.noise[1])


def _missing(share: float) -> Scores:
    def scores(events: Events) -> Numbers:
        # By the event, not by chance, as a model fails on some inputs.
        fails = special.ndtr(events.noise[0]) < share
        return np.where(fails, np.nan, noisy(_NOISE)(events))

    return scores


def worse_noise(by: float) -> float:
    """The noise with which the mean squared error is greater by a share of the champion's."""
    events = Events.draw(np.random.default_rng(5), 1_000_000)
    champion = special.expit(events.logit + _NOISE * events.noise[0])
    truth = special.expit(events.logit)

    def loss(scores: Numbers) -> float:
        return float((truth * (1 - scores) ** 2 + (1 - truth) * scores**2).mean())

    low, high = _NOISE, 3.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if loss(noisy(middle)(events)) > (1 + by) * loss(champion) else (middle, high)
    return (low + high) / 2


GOOD = Candidate(noisy(_NOISE), look_s=_LOOK_S)
BAD: Mapping[str, Candidate] = {
    "crashes on load": Candidate(noisy(_NOISE), refused=True),
    "slow, beyond the deadline": Candidate(noisy(_NOISE), is_late=True),
    "slow, 3 times the champion": Candidate(noisy(_NOISE), slower=3.0, look_s=_LOOK_S),
    "NaN for all": Candidate(_missing(1.0)),
    "NaN for 5 %": Candidate(_missing(0.05)),
    "inverted scores": Candidate(lambda events: 1 - noisy(_NOISE)(events)),
    "constant score": Candidate(lambda events: np.full(len(events.logit), 0.1)),
    "10 times the decisions": Candidate(_shifted(3.3)),
    "biased against one group": Candidate(
        lambda events: special.expit(events.logit + np.where(events.group == 0, 2.5, -0.4) + _NOISE * events.noise[1])
    ),
    "25 % worse": Candidate(noisy(worse_noise(0.25)), look_s=_LOOK_S),
}


@dataclass(frozen=True)
class Outcome:
    """How a rollout ended.

    Attributes:
        verdict: ``promoted``, ``rolled back``, ``paused``, or ``open`` if it was still running.
        step: At which step, from 0.
        by: The guardrails that stopped it, or on which it waited.
        events: How many events the candidate scored or failed at, in shadow and for users.
        users: How many entities it served.
        seconds: How long it took.
    """

    verdict: str
    step: int
    by: tuple[str, ...]
    events: int
    users: int
    seconds: int


def steps(*weights: float, least_s: int = 300, most_s: int = 7_200) -> tuple[Step, ...]:
    """Steps of a canary, in seconds of simulated time."""
    return tuple(
        Step(weight=weight, least_events=100, least_time=least_s * _MS, most_time=most_s * _MS) for weight in weights
    )


class Simulation:
    """One rollout.

    Args:
        candidate: What is tried.
        steps: Of the canary.
        seed: Of everything that is left to chance.
        rollout: How it is judged.
        look_s: How often the judge decides, in seconds; by default as the candidate says.
    """

    def __init__(
        self,
        candidate: Candidate,
        steps: tuple[Step, ...],
        seed: int,
        rollout: Rollout | None = None,
        look_s: int | None = None,
    ) -> None:
        self._candidate = candidate
        self._rng = np.random.default_rng(seed)
        self._look_s = look_s or candidate.look_s
        self._judge = Judge(
            Facts(rollout or Rollout(), 0.5, ("event.group",), (0,), "binary"),
        )
        arms = (Arm(name="present", version=1, role="champion"), Arm(name="tried", version=2))
        policy = RolloutPolicy(pipeline="simulated", mode="canary", salt=f"simulated/{seed}", arms=arms, steps=steps)
        self._change = PolicyChange(policy=publish(policy), author="bench", reason="try", previous=None, time_ms=0)
        self._state = self._judge.begin(self._change)
        self._entities, self._event, self._second = 0, 0, 0
        self._events, self._users = 0, set[str]()
        if candidate.refused:
            refusal = Refusal(instance="a", policy=self._change.policy.hash, reason="no such file", time_ms=0)
            self._state = self._judge.observe(self._state, entries=[refusal])

    def run(self, most_s: int = 100_000) -> Outcome:
        """Until it ends, or for so many seconds."""
        step = 0
        while self._change.status == "running" and self._second < most_s:
            step = self._change.step
            if not self._candidate.refused:
                self._pass(self._look_s)
            made = self._judge.decide(self._state, self._change, self._second * _MS)
            if made is not None:
                self._change = made
                self._state = self._judge.begin(made, self._state)
        verdict = {"running": "open", "paused": "paused"}.get(self._change.status, "rolled back")
        if verdict == "rolled back" and self._change.policy.policy.champion.version == 2:
            verdict = "promoted"
        return Outcome(verdict, step, self._why(verdict), self._events, len(self._users), self._second)

    def _why(self, verdict: str) -> tuple[str, ...]:
        """The guardrails that stopped it, or on which it waited."""
        guardrails: Any = self._change.evidence.get("guardrails", [])
        if verdict == "rolled back":
            found = [one["guardrail"] for one in guardrails if one["verdict"] == "worse"]
        else:
            found = [one["guardrail"] for one in guardrails if one["awaited"] and one["verdict"] != "equivalent"]
        return tuple(dict.fromkeys(found)) or (("refusal",) if self._candidate.refused else ())

    def _pass(self, seconds: int) -> None:
        n = seconds * PER_SECOND
        events = Events.draw(self._rng, n)
        is_new = self._rng.random(n) < _NEW
        numbers = np.where(is_new, self._entities + np.cumsum(is_new), self._rng.integers(1, self._entities + 2, n))
        self._entities += int(is_new.sum())
        entities = [f"entity-{number}" for number in numbers.tolist()]
        ids = [f"event-{self._event + number}" for number in range(n)]
        second = self._second + np.arange(n) // PER_SECOND
        published = self._change.policy
        arms = assign(published, entities, ids).arms
        champion = special.expit(events.logit + _NOISE * events.noise[0])
        scores = self._candidate.scores(events)
        fails = np.isnan(scores) | self._candidate.is_late
        times = self._rng.lognormal(2, 0.5, (2, seconds)) * np.array([[1.0], [self._candidate.slower]])
        live, shadow = [], []
        in_shadow = bool(published.shadows)
        for row in range(n):
            place, offset = row % _PARTITIONS, (self._event + row) // _PARTITIONS
            arm, failed = int(arms[row]), bool(fails[row])
            by_candidate = arm == 1 and not failed
            at = int(second[row]) * _MS
            live.append(
                Live(
                    place,
                    offset,
                    ids[row],
                    entities[row],
                    at,
                    published.version,
                    published.policy.arms[arm].name,
                    2 if by_candidate else 1,
                    float(scores[row] if by_candidate else champion[row]),
                    arm == 1 and failed,
                    float(times[arm, row // PER_SECOND]),
                    at,
                    (float(events.group[row]),),
                )
            )
            if in_shadow and not failed:
                ms = float(times[1, row // PER_SECOND])
                shadow.append(
                    Shadow(place, offset, ids[row], entities[row], at, published.version, 2, float(scores[row]), ms)
                )
        self._event += n
        self._second += seconds
        self._events += n if in_shadow else int((arms == 1).sum())
        self._users |= {entities[row] for row in np.flatnonzero(arms == 1).tolist()}
        labels = [Label(one, value, self._second * _MS) for one, value in zip(ids, events.label.tolist(), strict=True)]
        self._state = self._judge.observe(
            self._state,
            live=live,
            shadow=shadow,
            labels=labels,
            complete=dict.fromkeys(range(_PARTITIONS), self._event // _PARTITIONS),
        )


# All that a candidate must pass, and the first step with users alone, for what a step in shadow has not seen.
ALL_STEPS = (0, 0.1, 0.5, 1)
ONLY_USERS = (0.1, 1)


@dataclass(frozen=True)
class Summary:
    """How all rollouts of a candidate ended."""

    candidate: str
    begins: str
    runs: int
    verdicts: dict[str, int]
    by: dict[str, int]
    median_events: int
    median_users: int
    median_seconds: int


def summary(candidate: str, begins: str, outcomes: list[Outcome]) -> Summary:
    """Of some rollouts."""
    return Summary(
        candidate,
        begins,
        len(outcomes),
        dict(Counter(one.verdict for one in outcomes)),
        dict(Counter(name for one in outcomes for name in one.by)),
        *(int(np.median([getattr(one, name) for one in outcomes])) for name in ("events", "users", "seconds")),
    )


def main(arguments: list[str] | None = None) -> int:
    """Simulate rollouts, print how they end, and write the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rollout_judge", description=main.__doc__)
    parser.add_argument("--good", type=int, default=200, help="rollouts of good candidates (default: 200)")
    parser.add_argument("--bad", type=int, default=10, help="rollouts of each bad candidate (default: 10)")
    parser.add_argument("--out", type=Path, default=BUILD / "bench" / "rollout_judge.json")
    options = parser.parse_args(arguments)
    begin, found = time.monotonic(), []

    def tried(name: str, begins: str, candidate: Candidate, weights: tuple[float, ...], runs: int) -> None:
        outcomes = [Simulation(candidate, steps(*weights), seed).run() for seed in range(runs)]
        found.append(one := summary(name, begins, outcomes))
        print(f"{name:28} {begins:7} {one.verdicts} {one.by} events {one.median_events:,}", flush=True)

    for name, candidate in BAD.items():
        tried(name, "shadow", candidate, ALL_STEPS, options.bad)
        tried(name, "users", candidate, ONLY_USERS, options.bad)
    tried("5 % worse", "shadow", Candidate(noisy(worse_noise(0.05)), look_s=_LOOK_S), ALL_STEPS, options.bad)
    tried("as good", "shadow", GOOD, ALL_STEPS, options.good)
    good = found[-1]
    stopped = good.verdicts.get("rolled back", 0)
    upper = float(stats.beta.ppf(0.99, stopped + 1, good.runs - stopped))
    content = {
        "good_stopped": stopped,
        "good_stopped_at_most": upper,
        "rollouts": [asdict(one) for one in found],
        "per_second": PER_SECOND,
        "versions": {name: version(name) for name in ("penstock", "numpy", "scipy")},
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(
        f"{stopped} of {good.runs} good ones were stopped; written to {options.out} in {time.monotonic() - begin:.0f} s"
    )
    return 0


if __name__ == "__main__":
    command.run(main)
