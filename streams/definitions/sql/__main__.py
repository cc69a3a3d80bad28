"""Generates the tables of the SQL reference in the docs from the list of functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.paths import ROOT
from schemas.feature_types import FeatureType
from streams.definitions.sql.functions import FUNCTIONS, OPERATORS, Function

COMMAND = "python -m streams.definitions.sql"
DOCS = ROOT / "docs" / "reference" / "sql.md"
_BEGIN, _END = "<!-- Generated: {}. -->\n", "<!-- End of {}. -->\n"
_WORDS: dict[FeatureType, str] = {"long": "whole", "double": "double", "string": "text", "boolean": "boolean"}


def generated_files() -> dict[Path, str]:
    """The page, with the full text that it should have.

    Raises:
        ValueError: if a line that encloses a generated part is missing.
    """
    page = DOCS.read_text(encoding="utf-8")
    for title, functions in (("operators", OPERATORS), ("functions", FUNCTIONS)):
        head, rest = page.split(_BEGIN.format(title))
        _, tail = rest.split(_END.format(title))
        page = head + _BEGIN.format(title) + _table(functions) + _END.format(title) + tail
    return {DOCS: page}


def _table(functions: Mapping[str, Function]) -> str:
    rows = ["", "| written | value | takes → gives |", "|---" * 3 + "|"]
    for function in functions.values():
        written = ", ".join(f"`{way}`" for way in function.syntax.split(" or "))
        rows.append("| " + " | ".join(_cell(text) for text in (written, function.meaning, _types(function))) + " |")
    return "\n".join([*rows, "", ""])


def _types(function: Function) -> str:
    forms = dict.fromkeys(f"{_WORDS.get(form.takes[0], 'list')} → {_WORDS[form.gives]}" for form in function.forms)
    if len(forms) < len(_WORDS):
        return "; ".join(forms)
    gives = {form.gives for form in function.forms}
    return f"any → {_WORDS[gives.pop()] if len(gives) == 1 else 'the same'}"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


if __name__ == "__main__":
    for file, text in generated_files().items():
        file.write_text(text, encoding="utf-8")
