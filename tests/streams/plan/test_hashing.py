"""The hash of a view: everything that gives its values their meaning is in it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.definitions.loading import load_pipeline
from streams.plan.compiler import compile_plan

DEFINITION = '''
from typing import Annotated

from pydantic import Field

from penstock import *  # noqa: F403
import helpers
from helpers import scaled

RATE = 2.0


class Tap(Contract, name="tap_{name}", version=1):
    """A tap."""

    id: Annotated[str, EVENT_ID]
    time: Annotated[int, EVENT_TIME]
    card: Annotated[str, ENTITY, PII_HASH]
    amount: int
    limit: Annotated[float, Field(ge=0)]
    note: str | None = None


def doubled(x):
    """A docstring."""
    return x * RATE + helpers.offset() + scaled(x)


card = Entity(name="card", key="card")
taps = View(name="taps", version=1, entity=card, aggregates=(sum_("amount", over="1h"), mean("twice", over="1h")))
plain = View(name="plain", version=1, entity=card, aggregates=(count(over="1h"),))
pipeline = Pipeline(
    name="taps_{name}",
    source=Source(topic="events.taps", contract=Tap, key="card"),
    entities=(card,),
    derived={{"twice": PythonColumn(function=doubled, columns=("amount",), type="double")}},
    views=(taps, plain),
    model=Model(name="taps", inputs=taps.inputs(), threshold=0.5, positive="p", negative="n"),
)
'''
HELPERS = "FACTOR = 3\n\n\ndef offset():\n    return 1\n\n\ndef scaled(x):\n    return x * FACTOR\n"


def hashes(folder: Path, name: str, change: tuple[str, str] = ("", ""), helpers: str = HELPERS) -> tuple[str, str]:
    """The hashes of both views, after a change of the definition."""
    folder = folder / name
    folder.mkdir()
    text = DEFINITION.format(name="same")
    assert change[0] in text
    (folder / "pipeline.py").write_text(text.replace(*change), encoding="utf-8")
    (folder / "helpers.py").write_text(helpers, encoding="utf-8")
    plan = compile_plan(load_pipeline(str(folder / "pipeline.py")))
    return plan.view("taps").hash, plan.view("plain").hash


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(("amount: int", "amount: float"), id="another type"),
        pytest.param(("amount: int", "amount: int | None"), id="null is allowed"),
        pytest.param((", ENTITY, PII_HASH]", ", ENTITY]"), id="no protection"),
        pytest.param(("Field(ge=0)", "Field(ge=1)"), id="a constraint of a column that the view does not use"),
        pytest.param(("note: str | None = None", "note: str | None"), id="a field that must be present, even if null"),
        pytest.param(("note: str | None", 'note: Annotated[str | None, At("a.b")]'), id="an optional field elsewhere"),
        pytest.param(("note: str | None", "note: Annotated[str | None, DATE]"), id="an optional field's form"),
        pytest.param(('key="card"),', 'key="card", max_bytes=100),'), id="the longest event that is decoded"),
        pytest.param(('key="card"),', 'key="card", envelope=Debezium()),'), id="an envelope"),
        pytest.param(("return x * RATE", "return -x / RATE"), id="another body of a Python column"),
        pytest.param(("RATE = 2.0", "RATE = 2.5"), id="another constant that a Python column uses"),
    ],
)
def test_a_change_of_meaning_changes_the_hash(tmp_path: Path, change: tuple[str, str]) -> None:
    assert hashes(tmp_path, "before")[0] != hashes(tmp_path, "after", change)[0]


@pytest.mark.parametrize(
    ("before", "after"), [("return 1", "return 2"), ("FACTOR = 3", "FACTOR = 4"), ("x * FACTOR", "x + FACTOR")]
)
def test_a_change_of_a_module_that_a_python_column_uses_changes_the_hash(
    tmp_path: Path, before: str, after: str
) -> None:
    assert hashes(tmp_path, "before")[0] != hashes(tmp_path, "after", helpers=HELPERS.replace(before, after))[0]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(('"""A docstring."""', '"""Another one."""'), id="a docstring"),
        pytest.param(("RATE = 2.0", "RATE = 2.0  # a comment"), id="a comment"),
        pytest.param(("note: str | None = None", "note: str | None = None\n    more: str | None = None"), id="a field"),
        pytest.param(('"""A tap."""', '"""Another text."""'), id="a description"),
    ],
)
def test_what_changes_no_value_does_not_change_the_hash(tmp_path: Path, change: tuple[str, str]) -> None:
    assert hashes(tmp_path, "before") == hashes(tmp_path, "after", change)


def test_the_default_length_of_an_event_is_not_in_the_hash_so_that_giving_it_changes_nothing(tmp_path: Path) -> None:
    change = ('key="card"),', 'key="card", max_bytes=1_048_576),')
    assert hashes(tmp_path, "before") == hashes(tmp_path, "after", change)


def test_a_python_column_is_part_of_the_views_that_use_it_only(tmp_path: Path) -> None:
    before, after = hashes(tmp_path, "before"), hashes(tmp_path, "after", ("RATE = 2.0", "RATE = 2.5"))
    assert before[1] == after[1]


def test_a_python_column_may_use_modules_without_a_file(tmp_path: Path) -> None:
    change = ("import helpers\n", "import helpers\nimport sys\n")
    used = ("return x * RATE", "return sys.maxsize * RATE")
    folder = tmp_path / "with"
    folder.mkdir()
    (folder / "helpers.py").write_text(HELPERS, encoding="utf-8")
    text = DEFINITION.format(name="same").replace(*change).replace(*used)
    (folder / "pipeline.py").write_text(text, encoding="utf-8")
    assert compile_plan(load_pipeline(str(folder / "pipeline.py"))).view("taps").hash
