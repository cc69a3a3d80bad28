"""The page of the guardrails has the defaults of the code, and names every measure, field and mode."""

from __future__ import annotations

from typing import get_args

from scoring.rollout.judge_state import JudgeState
from scoring.rollout.label_table import LabelTable
from scoring.rollout.policy import Mode, publish
from streams.definitions.rollout import DEFAULT_GUARDRAILS, DEFAULT_STEPS, Measure, Rollout
from streams.definitions.windows import duration_text
from tests.docs.pages import page
from tests.scoring.rollout.observed import change

PAGE = page("concepts/rollout-guardrails.md")
TEXT = PAGE.read_text(encoding="utf-8")


def table(heading: str, number: int = 0) -> dict[str, list[str]]:
    """A table of a section: the cells of each row, by the first one."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines, tables = section.splitlines(), []
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("|"):
            if not before.startswith("|"):
                tables.append([])
            tables[-1].append([cell.strip() for cell in line.strip("|").split("|")])
    return {row[0].strip("`"): row[1:] for row in tables[number][2:]}


def bounds(text: str) -> tuple[float, float] | None:
    return tuple(map(float, text.split(" to "))) if text else None  # type: ignore[return-value]


def test_the_bounds_are_the_defaults() -> None:
    documented = {measure: (bounds(low), bounds(high)) for measure, (low, high, _) in table("Defaults").items()}
    assert documented == {each.measure: (each.absolute, each.relative) for each in DEFAULT_GUARDRAILS}


def test_what_a_step_waits_for_is_the_default() -> None:
    documented = {measure for measure, (_, _, waits) in table("Defaults").items() if waits != "no"}
    assert documented == {each.measure for each in DEFAULT_GUARDRAILS if each.awaited}


def test_the_fields_of_a_rollout_have_the_defaults() -> None:
    default, documented = Rollout(), {name: value for name, (value, _) in table("Defaults", 1).items()}
    weights = ", ".join(f"{100 * step.weight:g}" for step in DEFAULT_STEPS[1:])
    assert documented == {
        "steps": f"shadow, {weights} %",
        "alpha": f"{default.alpha:g}",
        "loss": default.loss,
        "together": duration_text(default.together),
        "entity_again": "none" if default.entity_again is None else duration_text(default.entity_again),
        "reweight_every": duration_text(default.reweight_every),
        "most_entities": f"{default.most_entities:,}",
    }
    assert {*documented} == {*Rollout.model_fields} - {"guardrails", "without"}


def test_every_measure_is_explained() -> None:
    assert {*table("What is measured")} == {*get_args(Measure)}


def test_every_mode_has_its_consequences() -> None:
    assert {*table("What the modes make of it")} == {*get_args(Mode)}


def test_the_number_of_labels_that_are_kept_is_the_one_of_the_code() -> None:
    state = JudgeState.empty(publish(change(0.5).policy.policy), groups=0, most=1_000)
    assert isinstance(state.labels, LabelTable)
    assert f"the newest {state.labels.most:,} are kept" in " ".join(TEXT.split())
