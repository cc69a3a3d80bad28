"""Compares what a pipeline served with what is recomputed from its raw events. It reads through functions only.

Read in this order, no record can seem to be lost: first how far the job and the scorer have committed, then what they
published, and the raw events at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

from backfill.parity.features import compare_derived, compare_parts, explain_parts
from backfill.parity.findings import Findings
from backfill.parity.kernel import FeatureKernel
from backfill.parity.predictions import compare_predictions, read_others, read_predictions
from backfill.parity.recomputation import Recomputing
from backfill.parity.rows import BackfillRows
from backfill.parity.served import read_served
from backfill.parity.sources import Range, Sources
from penstock.errors import PenstockError
from penstock.kafka.names import dead_letters_of
from streams.plan.project import Project

UNREADABLE = (
    "records of the features or predictions topic that are none, of another release, or of another topic's event"
)


@dataclass(frozen=True)
class Parity:
    """The result of a run; ``against`` says what the served values were compared with.

    ``events`` and ``entities`` count what was compared.
    """

    pipeline: str
    range: Range
    against: str
    events: int
    entities: int
    findings: Findings

    @property
    def unexplained(self) -> int:
        """How many differences have no cause."""
        return self.findings.unexplained


def check_parity(
    project: Project, sources: Sources, wanted: Range, kernel: FeatureKernel, backfill: BackfillRows | None = None
) -> Parity:
    """Compare what was served with a recomputation from the raw events, or with a backfill.

    Args:
        project: The pipeline.
        sources: Where its topics are.
        wanted: Which events.
        kernel: Recomputes features.
        backfill: The rows to compare with; by default, features are recomputed from the raw events.

    Raises:
        PenstockError: if something cannot be read or decoded, or the kernel fails.
    """
    if backfill is not None and project.plan.lookups:
        raise PenstockError(
            "the rows of a backfill follow from reference data by Kafka's timestamps, not from what events were given",
            where=str(backfill.backfill.folder),
            safe="nothing was compared",
            next="leave out the backfill: the kernel computes from what each event was given, and compares that too",
        )
    plan, findings, chosen = project.plan, Findings(), wanted.sample.chosen()
    served = read_served(plan, project.features_decoder(), sources.read(plan.features_topic), chosen, wanted.has)
    predictions = read_predictions(
        project,
        sources.read(project.pipeline.predictions_topic),
        sources.read(dead_letters_of(project.pipeline.predictions_topic)),
        served.first,
    )
    if unreadable := served.unreadable + predictions.unreadable:
        findings.not_compared[UNREADABLE] += unreadable
    others = read_others(project, sources.read, served, sources.decoder_of, findings) if predictions.first else {}
    other_side = Recomputing(project, sources, wanted, chosen, served, findings)
    recomputed = other_side.by_kernel(kernel) if backfill is None else other_side.by_rows(backfill)
    differing = compare_parts(plan, served, recomputed, findings)
    explain_parts(plan, served, recomputed, differing, kernel, findings)
    compare_derived(plan, served, chosen, findings)
    if predictions.begins or predictions.given_up or sources.scored:
        compare_predictions(project, served, predictions, others, sources, findings)
    entities = {
        (stage.entity, part.entity) for stage in plan.stages for part in recomputed.values[stage.views[0].name].values()
    }
    against = "the kernel" if backfill is None else str(backfill.backfill.folder)
    return Parity(plan.pipeline, wanted, against, len(served.first), len(entities), findings)
