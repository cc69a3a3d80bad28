"""Pipelines are loaded by their path; their names may be those of other files and of installed modules."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import redis

import examples.fraud.pipeline
from penstock.errors import PenstockError
from streams.definitions.columns import PythonColumn
from streams.definitions.importing import import_file, source_files
from streams.definitions.loading import load_pipeline
from streams.oracle.derived_columns import derive
from streams.plan.compiler import compile_plan

DEFINITION = """
from typing import Annotated
from penstock import ENTITY, EVENT_TIME, Contract, Entity, Model, Pipeline, PythonColumn, Source, View, count
{imports}

class Visit(Contract, name="{name}", version=1):
    at: Annotated[int, EVENT_TIME]
    user: Annotated[str, ENTITY]

def shout(user):
    return user.upper()

user = Entity(name="user", key="user")
pipeline = Pipeline(
    name="{name}",
    source=Source(topic="events.{name}", contract=Visit),
    entities=(user,),
    derived={{"loud": PythonColumn(function={function}, columns=("user",), type="string")}},
    views=(View(name="seen", version=1, entity=user, aggregates=(count(over="1h"),)),),
    model=Model(name="m", inputs=("seen.count_1h",), threshold=0.5, positive="y", negative="n"),
)
"""


def write(folder: Path, name: str, file: str = "pipeline.py", imports: str = "", function: str = "shout") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file
    path.write_text(DEFINITION.format(name=name, imports=imports, function=function), encoding="utf-8")
    return str(path)


def loud(reference: str) -> PythonColumn:
    column = load_pipeline(reference).derived["loud"]
    assert isinstance(column, PythonColumn)
    return column


def test_two_files_of_one_name_in_two_folders_are_two_pipelines(tmp_path: Path) -> None:
    ads, pay = write(tmp_path / "a", "ads"), write(tmp_path / "b", "pay")
    assert [load_pipeline(file).name for file in (ads, pay, ads)] == ["ads", "pay", "ads"]


def test_a_file_is_loaded_once_by_whatever_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "ads", "ads")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PENSTOCK_PIPELINES", str(tmp_path))
    assert load_pipeline(file) is load_pipeline("ads") is load_pipeline("ads/pipeline.py")


@pytest.mark.parametrize("name", ["redis", "streams", "penstock", "json", "pipeline"])
def test_a_pipeline_with_the_name_of_an_installed_module_does_not_hide_it(tmp_path: Path, name: str) -> None:
    before = sys.modules.get(name)
    file = write(tmp_path, "ads", f"{name}.py", imports="import json, redis\nredis.Redis, json.dumps")
    assert load_pipeline(file).name == "ads"
    assert sys.modules.get(name) is before
    assert str(tmp_path) not in sys.path


def test_a_pipeline_imports_the_helpers_beside_it_even_if_their_names_are_installed(tmp_path: Path) -> None:
    imports = "import helpers\nfrom redis import change as redis_change\nimport streams"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "helpers.py").write_text(f"from redis import change\nNAME = {name!r}\n")
        (tmp_path / name / "redis.py").write_text(f"def change(user):\n    return user + {name!r}\n")
        (tmp_path / name / "streams.py").write_text("import json\n")
    files = [write(tmp_path / name, name, imports=imports, function="helpers.change") for name in ("a", "b")]
    assert [loud(file).function("x") for file in files] == ["xa", "xb"]
    assert redis.Redis.__module__ == "redis.client"


def test_a_package_that_is_not_installed_is_imported_by_its_own_names(tmp_path: Path) -> None:
    (tmp_path / "acme" / "ads").mkdir(parents=True)
    (tmp_path / "acme" / "__init__.py").touch()
    (tmp_path / "acme" / "names.py").write_text("def change(user):\n    return user + '!'\n")
    (tmp_path / "acme" / "ads" / "__init__.py").touch()
    imports = "from acme.names import change\nfrom ..names import change as again\nassert change is again"
    file = write(tmp_path / "acme" / "ads", "ads", imports=imports, function="change")
    assert loud(file).function("x") == "x!"
    assert loud(file).reference == "acme.names:change"
    assert "acme" not in sys.modules


def test_an_installed_pipeline_is_the_module_that_others_import() -> None:
    assert load_pipeline("fraud") is examples.fraud.pipeline.pipeline


def test_the_reference_of_a_function_does_not_show_the_import_prefix(tmp_path: Path) -> None:
    assert loud(write(tmp_path / "x" / "y", "ads")).reference == "pipeline:shout"


def test_the_source_files_of_a_module_are_its_own_and_the_imported_ones_beside_it(tmp_path: Path) -> None:
    (tmp_path / "helpers.py").write_text("def change(user):\n    return user\n")
    (tmp_path / "unrelated.py").write_text("raise SystemExit\n")
    file = write(tmp_path, "ads", imports="import helpers", function="helpers.change")
    files = source_files(loud(file).function.__module__)
    assert files == {Path(name): tmp_path / name for name in ("helpers.py", "pipeline.py")}


def test_the_source_files_are_the_same_if_the_folder_is_on_the_python_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shouting_helpers.py").write_text("def change(user):\n    return user\n")
    file = write(tmp_path, "ads", "shouting.py", imports="import shouting_helpers", function="shouting_helpers.change")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = loud(file).function.__module__
    assert module == "shouting_helpers"
    assert source_files(module) == {Path(name): tmp_path / name for name in ("shouting.py", "shouting_helpers.py")}


@pytest.mark.parametrize("on_path", [False, True], ids=["by its path", "on the Python path"])
def test_the_source_files_hold_what_is_imported_only_inside_a_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_path: bool
) -> None:
    if on_path:
        monkeypatch.syspath_prepend(str(tmp_path))
    stem = f"late_{on_path}".lower()
    (tmp_path / f"{stem}_lib").mkdir()
    (tmp_path / f"{stem}_lib" / "__init__.py").touch()
    (tmp_path / f"{stem}_lib" / "names.py").write_text(f"import {stem}_rates\n")
    (tmp_path / f"{stem}_rates.py").touch()
    (tmp_path / "unrelated.py").touch()
    function = f"def change(user):\n    from {stem}_lib import names\n    return names and user\n"
    module = loud(write(tmp_path, "ads", f"{stem}.py", imports=function, function="change")).function.__module__
    names = {f"{stem}.py", f"{stem}_lib/__init__.py", f"{stem}_lib/names.py", f"{stem}_rates.py"}
    assert source_files(module).keys() == {Path(name) for name in names}


def test_the_source_files_of_a_module_of_a_package_beside_the_pipeline_hold_that_package(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "__init__.py").write_text("")
    (tmp_path / "lib" / "names.py").write_text("def change(user):\n    return user\n")
    file = write(tmp_path, "ads", imports="from lib.names import change", function="change")
    names = {"pipeline.py", "lib/__init__.py", "lib/names.py"}
    assert source_files(loud(file).function.__module__).keys() == {Path(name) for name in names}


def test_the_source_files_of_a_package_are_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "acme").mkdir()
    for name in ("__init__.py", "data.csv", "later.py"):
        (tmp_path / "acme" / name).touch()
    file = write(tmp_path / "acme", "ads")
    names = {"__init__.py", "data.csv", "later.py", "pipeline.py"}
    assert source_files(loud(file).function.__module__).keys() == {Path("acme") / name for name in names}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("x = = 1", "SyntaxError: invalid syntax"),
        ("penstock.Model(name='m', inputs=('a.b',))", r"Model\(threshold\): Field required; .*negative.*"),
        ("penstock.mean('x', over='1hour')", "'1hour'"),
    ],
)
def test_an_error_inside_the_file_is_a_sentence_with_its_line(tmp_path: Path, line: str, what: str) -> None:
    file = tmp_path / "pipeline.py"
    file.write_text(f"import penstock\n\n{line}\n", encoding="utf-8")
    with pytest.raises(PenstockError, match=what) as error:
        load_pipeline(str(file))
    assert error.value.where == f"{file}:3"
    assert "pydantic" not in str(error.value)


def test_a_file_without_a_pipeline_says_what_to_assign(tmp_path: Path) -> None:
    (tmp_path / "redis.py").write_text("pipeline = 1\n")
    with pytest.raises(PenstockError, match="defines no pipeline") as refused:
        load_pipeline(str(tmp_path / "redis.py"))
    assert refused.value.where == str(tmp_path / "redis.py")


def test_a_file_that_failed_can_be_fixed_and_loaded_again(tmp_path: Path) -> None:
    broken = tmp_path / "pipeline.py"
    broken.write_text("raise RuntimeError\n")
    with pytest.raises(RuntimeError):
        import_file(broken)
    assert load_pipeline(write(tmp_path, "ads")).name == "ads"


def test_the_python_columns_of_a_pipeline_that_was_loaded_by_its_path_are_computed_here(tmp_path: Path) -> None:
    ads, pay = write(tmp_path / "a", "ads"), write(tmp_path / "b", "pay")
    text = Path(pay).read_text(encoding="utf-8")
    Path(pay).write_text(text.replace("user.upper()", "user * 2"), encoding="utf-8")
    rows = [derive(compile_plan(load_pipeline(file)), [{"at": 1, "user": "ann"}])[0]["loud"] for file in (ads, pay)]
    assert rows == ["ANN", "annann"]


@pytest.mark.parametrize(
    ("file", "rename"),
    [("a.b.py", "rename a.b to a_b"), ("pay.txt", "rename it to pay.py"), ("pay", "rename it to pay.py")],
)
def test_a_file_that_python_cannot_import_by_its_name_is_refused_with_another_name(
    tmp_path: Path, file: str, rename: str
) -> None:
    with pytest.raises(PenstockError, match=f"Python cannot import {file}: ") as refused:
        load_pipeline(write(tmp_path, "dots", file))
    assert refused.value.next == rename


def test_a_package_with_a_dot_in_its_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "my.package", "dotted")
    (tmp_path / "my.package" / "__init__.py").touch()
    with pytest.raises(PenstockError, match=r"Python cannot import my.package/pipeline.py") as refused:
        load_pipeline(str(tmp_path / "my.package"))
    assert refused.value.next == "rename my.package to my_package"


@pytest.mark.parametrize(("reference", "hinted"), [("pay:weak", True), ("pay", False), ("pay:strong", False)])
def test_an_unknown_suffix_of_a_name_is_refused_with_the_one_that_there_is(reference: str, *, hinted: bool) -> None:
    with pytest.raises(PenstockError, match="there is no pipeline 'pay") as refused:
        load_pipeline(reference)
    assert ("only :strong can follow a pipeline's name" in str(refused.value.next)) is hinted
