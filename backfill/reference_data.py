"""What a replay reads of reference data: all that its topics have, since an old record may give a row of today."""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaException

from penstock.errors import PenstockError
from penstock.kafka.access import KafkaAccess
from penstock.kafka.lag import Lag
from streams.flink.submission import Offsets
from streams.plan.model import PipelinePlan


def reference_offsets(plan: PipelinePlan, kafka: KafkaAccess) -> tuple[Offsets, ...]:
    """The offsets of each topic of reference data, in the plan's order; partitions without records are left out.

    Raises:
        PenstockError: if a topic cannot be read.
    """
    found: list[Offsets] = []
    if not plan.lookups:
        return ()
    topics: Sequence[str] = plan.reference_topics
    try:
        with Lag(kafka) as lag:
            for topic in topics:
                starts, ends = lag.earliest_offsets(topic), lag.end_offsets(topic)
                kept = [number for number, start in starts.items() if start < ends[number]]
                found.append(Offsets(start={n: starts[n] for n in kept}, end={n: ends[n] for n in kept}))
    except (KafkaException, KeyError) as error:
        why = error.args[0].str() if isinstance(error, KafkaException) else "a topic, or a partition of it, is gone"
        raise PenstockError(
            f"reference data cannot be read: {why}",
            where=", ".join(topics),
            safe="nothing was started",
            next="penstock topics create PIPELINE makes missing topics",
        ) from error
    return tuple(found)


def require_reference_in_kafka(plan: PipelinePlan, archive: str | None) -> None:
    """Refuse to read events from an archive for a pipeline with lookups.

    Raises:
        PenstockError: if there is an archive: it has no reference data, and compaction has removed the rows of then.
    """
    if archive is not None and plan.lookups:
        raise PenstockError(
            "an archive has no reference data, and its events would get the rows of today",
            where=", ".join(plan.reference_topics),
            safe="nothing was started",
            next="give a range that Kafka still has, without an archive; training sets of served features "
            "(--features served) keep what events were given",
        )
