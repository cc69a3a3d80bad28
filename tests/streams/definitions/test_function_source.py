"""The digest of a Python column's function changes with what it computes, and with nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from penstock.errors import PenstockError
from streams.definitions.columns import PythonColumn
from streams.definitions.function_source import function_digest
from streams.definitions.importing import import_file, source_files
from streams.definitions.loading import load_pipeline

F = "def f(x):\n    return x * {}\n"
RATE = "RATE = {v}\n"


def digest(folder: Path, files: dict[str, str], value: str) -> tuple[str, float]:
    """The digest of ``f`` of ``shop/pipeline.py``, and what it returns for 1.0."""
    for name, text in files.items():
        file = folder / "shop" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{v}", value), encoding="utf-8")
    function = import_file(folder / "shop" / "pipeline.py").f
    return function_digest(function), function(1.0)


def own(head: str, factor: str) -> dict[str, str]:
    return {"pipeline.py": head + F.format(factor)}


def with_rates(head: str, factor: str, rates: str = RATE, **others: str) -> dict[str, str]:
    files = {f"{name.replace('__', '/', 1)}.py": text for name, text in others.items()}
    return {**own(head, factor), "rates.py": rates, **files}


def in_package(head: str, factor: str) -> dict[str, str]:
    return {**with_rates(head, factor), "__init__.py": ""}


def in_lib(head: str, factor: str, init: str = "") -> dict[str, str]:
    return {**own(head, factor), "lib/__init__.py": init, "lib/rates.py": RATE}


REGISTRY = """
R = {}
def register(name):
    def add(function):
        R[name] = function
        return function
    return add
@register("a")
def rate():
    return {v}
"""
CHANGES = {
    "the body": own("", "{v}"),
    "a default": {"pipeline.py": "def f(x, rate={v}):\n    return x * rate\n"},
    "a constant": own(RATE, "RATE"),
    "a second binding": own("RATE = 1.0\nRATE *= {v}\n", "RATE"),
    "an item that is assigned": own('R = {}\nR["a"] = {v}\n', 'R["a"]'),
    "an item of an item": own('R = {"b": {}}\nR["b"]["a"] = {v}\n', 'R["b"]["a"]'),
    "a method that is called": own("R = {}\nR.update(a={v})\n", 'R["a"]'),
    "a method whose result is used": own("R = [1.0, {v}]\nlast = R.pop({v} > 2)\n", "R[0]"),
    "a loop": own('R = {}\nfor n in ("a",):\n    R[n] = {v}\n', 'R["a"]'),
    "an attribute": own("class K:\n    pass\nK.r = {v}\n", "K.r"),
    "a function that is called for its effect": own("def fill(r):\n    r.append({v})\nR = []\nfill(R)\n", "R[0]"),
    "a function that sets a global": own("def load():\n    global R\n    R = {v}\nload()\n", "R"),
    "a function that changes a global": own("R = []\ndef load():\n    R.append({v})\nload()\n", "R[0]"),
    "a registry": own(REGISTRY, 'R["a"]()'),
    "a decorator": {
        "pipeline.py": "import functools\ndef dear(g):\n    @functools.wraps(g)\n    def h(x):\n"
        "        return {v} * g(x)\n    return h\n@dear\ndef f(x):\n    return x\n"
    },
    "a def inside an if": {"pipeline.py": "if True:\n    def f(x):\n        return x * {v}\n"},
    "a helper inside an if": own("if True:\n    def rate():\n        return {v}\n", "rate()"),
    "from rates import RATE": with_rates("from rates import RATE\n", "RATE"),
    "a dict": with_rates("from rates import R\n", 'R["a"]', 'R = {"a": {v}}\n'),
    "a partial": with_rates("from rates import g\n", "g()", "import functools\ng = functools.partial(float, {v})\n"),
    "a regular expression": with_rates(
        "from rates import R\n", 'bool(R.match("2.0"))', 'import re\nR = re.compile("{v}")\n'
    ),
    "a function": with_rates("from rates import rate\n", "rate()", "def rate():\n    return {v}\n"),
    "import rates": with_rates("import rates\n", "rates.RATE"),
    "import rates as r": with_rates("import rates as r\n", "r.RATE"),
    "from rates import *": with_rates("from rates import *\n", "RATE"),
    "import in the function": {
        "pipeline.py": "def f(x):\n    from rates import RATE\n    return x * RATE\n",
        "rates.py": RATE,
    },
    "import in try": with_rates("try:\n    from rates import RATE\nexcept ImportError:\n    RATE = 1.0\n", "RATE"),
    "two modules away": with_rates(
        "from near import rate\n", "rate()", near="from rates import RATE as rate0\ndef rate():\n    return rate0\n"
    ),
    "a constant two modules away": with_rates("from near import RATE\n", "RATE", near="from rates import RATE\n"),
    "from .rates import RATE": with_rates("from .rates import RATE\n", "RATE"),
    "from .rates import RATE in a package": in_package("from .rates import RATE\n", "RATE"),
    "from . import rates": in_package("from . import rates\n", "rates.RATE"),
    "import shop.rates": in_package("import shop.rates\n", "shop.rates.RATE"),
    "import shop.rates as r": in_package("import shop.rates as r\n", "r.RATE"),
    "from . import a name of the package": {**own("from . import RATE\n", "RATE"), "__init__.py": RATE},
    "import lib.rates": in_lib("import lib.rates\n", "lib.rates.RATE"),
    "from lib import rates": in_lib("from lib import rates\n", "rates.RATE"),
    "re-exported by a package": in_lib("from lib import RATE\n", "RATE", "from .rates import RATE\n"),
    "re-exported by a package with *": in_lib("from lib import RATE\n", "RATE", "from .rates import *\n"),
    "the function itself is imported": {"pipeline.py": "from rates import f\n", "rates.py": F.format("{v}")},
}


@pytest.mark.parametrize("files", [pytest.param(files, id=name) for name, files in CHANGES.items()])
def test_a_change_of_what_the_function_computes_changes_the_digest(tmp_path: Path, files: dict[str, str]) -> None:
    before, after = digest(tmp_path / "a", files, "2.0"), digest(tmp_path / "b", files, "3.0")
    assert before[1] != after[1]
    assert before[0] != after[0]


@pytest.mark.parametrize("files", [pytest.param(files, id=name) for name, files in CHANGES.items()])
def test_what_counts_is_shipped_to_the_job(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = tmp_path / "shop" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("{v}", "2.0"), encoding="utf-8")
    function = import_file(tmp_path / "shop" / "pipeline.py").f
    shipped = source_files(function.__module__)
    for name, file in shipped.items():
        target = tmp_path / "job" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    entry = next(name for name, file in shipped.items() if file.name == f"{function.__module__.rpartition('.')[2]}.py")
    assert import_file(tmp_path / "job" / entry).f(1.0) == function(1.0)


USES = 'import math, logging\nfrom rates import RATE\nlog = logging.getLogger("x")\nR = {"a": 1.0}\n'
BODY = 'def f(x):\n    log.debug("f")\n    return math.sqrt(x) * RATE * R["a"]\n'
UNRELATED = {
    "a comment": "# {v}\n",
    "a docstring of the module": '"""{v}"""\n',
    "another constant": "OTHER = {v}\n",
    "a call of a module that the function uses": "OTHER = math.sqrt({v})\n",
    "a view that names the function": "class View(dict):\n    pass\nv = View(function=f, x={v})\n",
    "another function with names of its own": "def g(x, R=None):\n    R = {}\n    R[x] = {v}\n    return R\n",
    "another function that writes to the same log": 'def g(x):\n    log.debug("g", {v})\nviews = {"g": g}\n',
    "another name of an imported module": "from math import sqrt as s{n}\n",
    "another imported name of a line": "from logging import INFO, DEBUG as d{n}\n",
    "what runs as a script only": 'if __name__ == "__main__":\n    print(f({v}), R)\n',
}


@pytest.mark.parametrize("tail", [pytest.param(tail, id=name) for name, tail in UNRELATED.items()])
def test_an_unrelated_change_of_the_functions_own_file_does_not_change_the_digest(tmp_path: Path, tail: str) -> None:
    def of(value: str) -> str:
        text = (tail if tail.startswith('"""') else "") + USES + BODY + ("" if tail.startswith('"""') else tail)
        files = {"pipeline.py": text.replace("{n}", value[0]), "rates.py": "RATE = 2.0\n"}
        return digest(tmp_path / value, files, value)[0]

    assert of("2.0") == of("3.0")


@pytest.mark.parametrize(
    ("pipeline", "rates"),
    [
        pytest.param(USES + BODY, '"""Rates."""\nRATE = 2.0  # of today\n"""What a rate is."""\n', id="other module"),
        pytest.param(USES + BODY.replace("):\n", "):\n    '''F.'''\n"), "RATE = 2.0\n", id="docstring"),
        pytest.param(USES + "\n\n" + BODY.replace("x) * RATE", "x)*  RATE"), "RATE=2.0", id="layout"),
    ],
)
def test_comments_docstrings_and_layout_do_not_count(tmp_path: Path, pipeline: str, rates: str) -> None:
    before = digest(tmp_path / "a", {"pipeline.py": USES + BODY, "rates.py": "RATE = 2.0\n"}, "")
    assert digest(tmp_path / "b", {"pipeline.py": pipeline, "rates.py": rates}, "") == before


def test_a_data_file_does_not_count(tmp_path: Path) -> None:
    head = 'from pathlib import Path\nRATE = float((Path(__file__).parent / "rate.txt").read_text())\n'
    files = {**own(head, "RATE"), "rate.txt": "{v}"}
    assert digest(tmp_path / "a", files, "2.0")[0] == digest(tmp_path / "b", files, "3.0")[0]


def test_a_module_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    files = {"pipeline.py": "def f(x):\n    import rates\n    return rates.RATE\n", "rates.py": "RATE = = 2\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(PenstockError, match="cannot be read") as refused:
        function_digest(import_file(tmp_path / "pipeline.py").f)
    assert refused.value.where == str(tmp_path / "rates.py")


@pytest.mark.parametrize(
    "text",
    [
        "lambda x: x",
        "functools.partial(max, 1)",
        "math.sqrt",
        "float",
        "'x'.join",
        "K()",
        "K().method",
        "made()",
        "unnamed",
    ],
)
def test_what_is_no_function_of_a_module_is_refused_when_the_file_is_read(tmp_path: Path, text: str) -> None:
    head = (
        "import functools, math\nfrom penstock import PythonColumn\n"
        "class K:\n    def __call__(self, x):\n        return x\n    def method(self, x):\n        return x\n"
        "def made():\n    def inner(x):\n        return x\n    return inner\n"
        "def plain(x):\n    return x\n@functools.wraps(plain)\ndef unnamed(x):\n    return 2 * x\n"
    )
    file = tmp_path / "pipeline.py"
    file.write_text(f"{head}PythonColumn(function={text}, columns=('x',), type='double')\n", encoding="utf-8")
    with pytest.raises(PenstockError, match="is not a function at the top level of a module") as refused:
        load_pipeline(str(file))
    assert refused.value.where == f"{file}:{len(head.splitlines()) + 1}"


@pytest.mark.parametrize("text", ["plain", "cached", "K.static", "K.of_class"])
def test_what_the_job_can_import_is_accepted(tmp_path: Path, text: str) -> None:
    (tmp_path / "pipeline.py").write_text(
        "import functools\ndef plain(x):\n    return x\n@functools.cache\ndef cached(x):\n    return x\n"
        "class K:\n    @staticmethod\n    def static(x):\n        return x\n"
        "    @classmethod\n    def of_class(cls, x):\n        return x\n"
    )
    function = import_file(tmp_path / "pipeline.py")
    for name in text.split("."):
        function = getattr(function, name)
    assert function_digest(PythonColumn(function=function, columns=("x",), type="double").function)
