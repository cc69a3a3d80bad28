"""What works only for a pipeline that scores the events of one topic."""

from __future__ import annotations

from penstock.errors import PenstockError
from streams.plan.model import PipelinePlan


def require_one_topic(plan: PipelinePlan, what: str) -> None:
    """Check that the events of one topic only are scored.

    Raises:
        PenstockError: if those of several are: ``what`` tells events apart by partition and offset.
    """
    topics = plan.triggering_topics
    if len(topics) > 1:
        raise PenstockError(
            f"{what} is for pipelines that score the events of one topic, because it tells events apart by partition "
            f"and offset; {plan.pipeline} scores those of {', '.join(topics)}",
            safe="nothing was read or changed",
            next="penstock verify PIPELINE checks every record; or score each topic in a pipeline of its own",
        )
