"""Generates the table of aggregates in the docs and the package's imports for type checkers, from the specs."""

from __future__ import annotations

from importlib import import_module
from inspect import Parameter
from pathlib import Path
from pkgutil import iter_modules

from penstock.paths import ROOT
from streams.definitions import aggregates
from streams.definitions.aggregates.spec import SPECS, AggregateSpec

COMMAND = f"python -m {aggregates.__name__}"
DOCS = ROOT / "docs" / "concepts" / "semantics.md"
_PACKAGE = Path(aggregates.__file__)
_TYPES = {"column": "x", "column[]": "x[]"}


def generated_files() -> dict[Path, str]:
    """The files with a generated part, and the full text that each should have.

    Raises:
        ValueError: if a line that encloses the generated part is missing in a file.
    """
    table = "\n".join(["", "| aggregate | value | type | empty window | agreement with the oracle |", "|---" * 5 + "|"])
    table += "".join(f"\n{_row(spec)}" for spec in SPECS.values()) + "\n\n"
    imports = "".join(f"    from {name} import *  # noqa: F403\n" for name in _modules())
    return {
        DOCS: _replace_part(DOCS, "<!-- Generated. -->\n", table, "<!-- End of the generated part. -->\n"),
        _PACKAGE: _replace_part(_PACKAGE, "if TYPE_CHECKING:\n", imports, "else:\n"),
    }


def _replace_part(file: Path, begin: str, new: str, end: str) -> str:
    head, rest = file.read_text(encoding="utf-8").split(begin)
    _, tail = rest.split(end)
    return f"{head}{begin}{new}{end}{tail}"


def _row(spec: AggregateSpec[...]) -> str:
    columns = ["x"] if spec.needs_column else ["", "x"]
    parameters = [_parameter(parameter) for parameter in spec.parameters.values()]
    arguments = [", ".join([*filter(None, [column]), *parameters]) for column in columns]
    calls = ", ".join(f"`{spec.public_name}({argument_list})`" for argument_list in arguments)
    kind = _TYPES.get(spec.type, spec.type)
    return f"| {calls} | {spec.summary} | `{kind}` | {spec.when_empty} | {spec.agreement} |"


def _parameter(parameter: Parameter) -> str:
    is_required = parameter.default is Parameter.empty
    return f"{parameter.name}={parameter.name[0].upper() if is_required else parameter.default}"


def _modules() -> list[str]:
    """The names of the modules that define aggregates."""
    names = [f"{aggregates.__name__}.{module.name}" for module in iter_modules(aggregates.__path__)]
    return [name for name in names if any(isinstance(v, AggregateSpec) for v in vars(import_module(name)).values())]


if __name__ == "__main__":
    for file, text in generated_files().items():
        file.write_text(text, encoding="utf-8")
