"""What labels declare: a wrong declaration is refused, and none changes a view or a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backfill.manifest import plan_hash
from deploy.security.kafka_acls import acls
from penstock import Contract, LabelSource
from penstock.settings import Settings
from scoring.decision import Policy
from sinks.archive.topics import topic_columns
from streams.plan.compiler import compile_plan
from streams.plan.pipeline_topics import pipeline_topics
from streams.plan.project import Project
from tests.backfill.training_sets.worlds import OPINIONS, Opinion, Tap, Verdict, pipeline


def of(contract: type[Contract], value: str) -> LabelSource:
    return LabelSource(topic="labels.more", contract=contract, value=value)


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ({"absent": "negative"}, "absent says what no label means once labels are final: add horizon="),
        ({"horizon": "3 days"}, "is not a duration"),
        ({"horizon": "3d", "absent": "positive"}, "Input should be 'negative' or 'excluded'"),
        (
            {"horizon": "3d", "absent": "negative", "value": "loss", "task": "regression"},
            "absent='negative' is for task='binary'",
        ),
        ({"otherwise": (of(Verdict, "kind"),)}, "labels of verdict_for_sets cannot be joined.* a boolean or a number"),
        ({"otherwise": (of(Tap, "card"),)}, "labels of tap_for_sets cannot be joined"),
        (
            {"value": "kind", "task": "multiclass", "positive": "a", "otherwise": (of(Opinion, "bad"),)},
            "labels of labels.more and labels.taps have no class in common: bad is a long, kind is a string",
        ),
        ({"otherwise": (OPINIONS, OPINIONS)}, "labels name a topic twice, of labels.taps, labels.opinions"),
        (
            {"otherwise": (LabelSource(topic="features.taps", contract=Verdict, value="fraud"),)},
            "is read, and Penstock",
        ),
        ({"otherwise": ({"topic": "a", "contract": Verdict, "value": "fraud", "horizon": "3d"},)}, "Extra inputs"),
        (
            {"hidden_by": "decline"},
            "hidden by the decision 'decline', which model taps never makes: it decides 'block'",
        ),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(declared: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        pipeline(**declared)


def test_a_declaration_changes_neither_plan_nor_policy() -> None:
    plain = pipeline()
    declared = pipeline(horizon="45d", absent="negative", hidden_by="block", otherwise=(OPINIONS,))
    assert plan_hash(compile_plan(declared)) == plan_hash(compile_plan(plain))
    assert Policy.of(declared.model) == Policy.of(plain.model)


def test_each_source_has_its_topic_its_archive_and_its_permissions() -> None:
    made = pipeline(otherwise=(OPINIONS,))
    both = ("labels.taps", "labels.opinions")
    assert made.labels is not None
    assert made.labels.topics == both
    assert {Verdict, Opinion} <= {*made.contracts}
    assert {topic.name for topic in pipeline_topics(made)} >= {*both}
    archived = topic_columns(Project.of(made, Path("nothing is committed")), Settings(), ["labels"])
    assert tuple(archived) == both
    allowed = [[(acl.user, acl.operation) for acl in acls(made) if acl.name == topic] for topic in both]
    assert allowed[0] == allowed[1] != []
    assert not any("{" in acl.name for acl in acls(made))
    assert not any("labels" in acl.name for acl in acls(made.model_copy(update={"labels": None})))
