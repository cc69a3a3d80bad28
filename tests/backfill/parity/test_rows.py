"""A comparison with the rows of a backfill."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from backfill.manifest import BackfillManifest, plan_hash, selected_views
from backfill.parity.rows import BackfillRows
from backfill.parity.values import Cause
from backfill.parquet import read_backfill
from backfill.parts import PartsWriter
from penstock.errors import PenstockError
from schemas.codec import Encoder
from streams.flink.submission import Offsets, Replay
from streams.plan.feature_records import features_schema
from tests.backfill.parity.test_check import causes, interleaved, payments
from tests.backfill.parity.worlds import NOON, World, run


def rows_of(
    world: World,
    records: Sequence[dict[str, Any]],
    folder: Path,
    of_views: tuple[str, ...] = (),
    ends: dict[int, int] | None = None,
    others: tuple[Offsets, ...] = (),
) -> BackfillRows:
    """A backfill with these feature records; ``ends`` are those of the first source, ``others`` of the further ones."""
    plan = world.project.plan
    ends = ends or {partition: len(of) for partition, of in world.raw.items()}
    folder.mkdir(parents=True)
    replay = Replay(
        topic="t",
        start=dict.fromkeys(ends, 0),
        end=ends,
        additional_sources=others,
        from_ms=NOON - 2**40,
        to_ms=NOON + 2**40,
        max_ahead_ms=1,
    )
    views = selected_views(plan, of_views, "p")
    manifest = BackfillManifest(
        state="complete", pipeline=plan.pipeline, views=views, plan=plan_hash(plan), run="r", replay=replay
    )
    encoder = Encoder(features_schema(plan))
    with PartsWriter(plan, manifest, folder) as writer:
        for partition in ends:
            own = [encoder.encode(one) for one in records if one["source"]["partition"] == partition]
            writer.add(partition, range(len(own)), own)
        writer.finish()
    manifest.save(folder)
    return BackfillRows(read_backfill(folder), plan)


def test_rows_of_a_backfill_are_compared_and_an_order_that_differs_is_explained(tmp_path: Path) -> None:
    world = run(interleaved(payments()), tmp_path / "schemas")
    rows = rows_of(world, run(payments(), tmp_path / "schemas").features, tmp_path / "rows")
    parity, by_kernel = world.check(rows=rows), world.check()
    assert set(causes(parity)) == {"interleaving"}
    assert causes(parity) == causes(by_kernel)
    assert parity.against == str(tmp_path / "rows")
    assert parity.findings.not_compared == {}


def test_of_a_backfill_of_one_view_only_that_view_is_compared(tmp_path: Path) -> None:
    world = run(payments(), tmp_path / "schemas")
    parity = world.check(rows=rows_of(world, world.features, tmp_path / "rows", ("risk",)))
    assert causes(parity) == {}
    parts = sum(record["risk"] is not None for record in world.features)
    assert 0 < parts < 40
    assert parity.findings.compared["features", "risk@1"] == parts * (3 + 3)


@pytest.mark.parametrize("changed", ["value", "lost row", "lost record", "no entity"])
def test_a_row_that_differs_from_what_was_served_is_found(changed: str, tmp_path: Path) -> None:
    world = run(payments(), tmp_path / "schemas")
    records = copy.deepcopy(world.features)
    if changed == "value":
        records[9]["spend"]["amount_sum_10m"] += 1
    elif changed == "lost row":
        del records[9]
    elif changed == "lost record":
        del world.features[9]
    else:
        next(record for record in records if record["risk"] is not None)["risk"] = None
    parity = world.check(rows=rows_of(world, records, tmp_path / "rows"))
    assert Cause.UNEXPLAINED.value in causes(parity)


def test_a_backfill_of_other_definitions_is_refused(tmp_path: Path) -> None:
    world = run(payments(3), tmp_path / "schemas")
    rows = rows_of(world, world.features, tmp_path / "rows")
    other = world.project.plan.model_copy(update={"features_topic": "features.other"})
    with pytest.raises(PenstockError, match="of other definitions"):
        BackfillRows(rows.backfill, other)
