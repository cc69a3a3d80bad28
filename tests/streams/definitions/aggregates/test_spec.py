from __future__ import annotations

import inspect
import re
from importlib import import_module
from pkgutil import iter_modules

import pytest

import penstock
from penstock import count, distinct, mean, min_, quantile
from penstock.paths import ROOT
from streams.definitions import aggregates
from streams.definitions.aggregates.signatures import of_column
from streams.definitions.aggregates.spec import SPECS, Aggregate, AggregateSpec
from streams.plan.model import FeaturePlan

KERNEL = ROOT / "streams/kernel/src/main/java/penstock/kernel/window/Aggregates.java"


def test_the_kernel_has_these_aggregates_and_no_others() -> None:
    operations = re.findall(r"case (\w+) ->", KERNEL.read_text(encoding="utf-8"))
    assert sorted(name.lower() for name in operations) == sorted(SPECS)


def test_the_packages_have_each_spec_under_its_public_name() -> None:
    modules = [import_module(f"{aggregates.__name__}.{module.name}") for module in iter_modules(aggregates.__path__)]
    defined = {k: v for module in modules for k, v in vars(module).items() if isinstance(v, AggregateSpec)}
    assert defined == {spec.public_name: spec for spec in SPECS.values()}
    assert all(getattr(penstock, name) is getattr(aggregates, name) is spec for name, spec in defined.items())


def test_a_name_of_a_python_builtin_gets_an_underscore() -> None:
    assert {spec.public_name for spec in SPECS.values() if spec.public_name != spec.name} == {"sum_", "min_", "max_"}


def test_a_wrong_call_names_the_aggregate() -> None:
    for call, message in (
        (lambda: min_("x"), "min_() missing 1 required keyword-only argument: 'over'"),  # type: ignore[call-arg]
        (lambda: mean(over="1h"), "mean() missing 1 required positional argument: 'column'"),  # type: ignore[call-arg]
        (lambda: mean("x", over="1h", k=3), "mean() got an unexpected keyword argument 'k'"),  # type: ignore[call-arg]
        (lambda: mean("x", "1h"), "mean() takes from 0 to 1 positional arguments but 2 were given"),  # type: ignore[misc]
        (lambda: quantile("x", over="1h"), "quantile() missing 1 required keyword-only argument: 'q'"),  # type: ignore[call-arg]
    ):
        with pytest.raises(TypeError, match=re.escape(message)):
            call()


def test_a_condition_needs_a_name() -> None:
    with pytest.raises(ValueError, match=re.escape("count(x) with where='y' needs a name of its own: name=...")):
        count("x", over="1h", where="y")


def test_help_shows_an_aggregates_summary_and_parameters() -> None:
    assert inspect.getdoc(mean) == "Arithmetic mean.\n\nSkips nulls. Empty window: null."
    assert list(inspect.signature(quantile).parameters) == ["column", "each", "q", "over", "where", "name"]
    assert inspect.signature(distinct).parameters["bound"].default == 1_000


def test_an_unknown_operation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there is no aggregate 'meen'; there are approx_distinct, bottom_k,"):
        Aggregate(operation="meen", column="x", windows=("1h",), name="x")
    planned = {"name": "x", "column": "x", "column_type": "double", "where": None, "type": "double"}
    with pytest.raises(ValueError, match="there is no aggregate 'meen'"):
        FeaturePlan.model_validate(planned | {"operation": "meen", "window_ms": 1, "hop_ms": 1})


def test_two_aggregates_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="there are two aggregates 'mean'"):
        AggregateSpec(name="mean", signature=of_column, type="double", oracle=SPECS["mean"].oracle, summary="another")
