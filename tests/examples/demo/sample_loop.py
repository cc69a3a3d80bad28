"""A small loop: two incidents, of which one led to version 2, and the quality of both versions."""

from __future__ import annotations

import numpy as np

from examples.demo.loop_record import Loop, Scored, ShownIncident, Told, stretches

BEGAN_MS = 1_800_000_000_000
STORY = (
    (90.0, "opened", "event.amount_eur: the mean changed"),
    (91.0, "cause", "concept-drift: labels show an area under the curve of only 0.61"),
    (91.0, "proposed", "ret-1: retrain on events from 2026-02-06T00:00:00.000Z to 2026-02-22T00:00:00.000Z"),
    (100.0, "version", "version 2 was made, data abc, gates: pass"),
    (110.0, "rollout", "running, step 1, version 1, version 2: ret-1 (by penstock retrain)"),
    (125.0, "rollout", "running, step 2, version 1, version 2: step 1 passed (by controller)"),
    (140.0, "rollout", "ended, step 3, version 2: all steps passed (by controller)"),
)


def scored(seed: int = 4) -> list[Scored]:
    """Predictions whose scores tell much, then little, and again much once version 2 scores."""
    rng, found = np.random.default_rng(seed), []
    for second, version, strength in ((10, 1, 1.0), (85, 1, 0.1), (130, 2, 1.0)):
        for number, score in enumerate(rng.random(4_000).tolist()):
            truth = bool(rng.random() < strength * score + (1 - strength) * 0.5)
            found.append(
                Scored(at_ms=BEGAN_MS + second * 1_000 + number, version=version, score=score, truth=truth),
            )
    return found


def loop(*, trained: bool = True) -> Loop:
    """The loop; or one after a fault, for which nothing was trained."""
    known = ShownIncident(
        id="inc-2",
        at_s=90.0,
        is_open=not trained,
        alerts=41,
        cause="concept-drift" if trained else "upstream-fault",
        column=None if trained else "amount",
        first=None if trained else "events.transactions[0]@77",
        why=("labels show an area under the curve of only 0.61",),
        proposal="ret-1" if trained else None,
        ended="other versions than 1 score now" if trained else None,
    )
    false = known.model_copy(
        update={"id": "inc-1", "alerts": 2, "cause": "none", "proposal": None, "ended": "nothing had changed"}
    )
    return Loop(
        incidents=(false, known),
        told_of="inc-2",
        story=tuple(Told(at_s=at, what=what, text=text) for at, what, text in STORY[: None if trained else 2]),
        stretches=stretches(scored(), BEGAN_MS),
        drift_s=84.0,
        alert_s=86.5,
    )
