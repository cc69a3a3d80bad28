"""As much of PromQL as tells which metrics and labels an expression names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_STRING = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_SELECTOR = re.compile(r"(?<![\w.$])([a-zA-Z_:][\w:]*)\s*(\{[^}]*\})?(\s*\()?")
_WORDS = {"and", "or", "unless", "bool", "offset"}


@dataclass(frozen=True)
class Selector:
    """A metric's name, and the labels by which it is selected."""

    metric: str
    labels: frozenset[str]


def selectors(expression: str) -> Iterator[Selector]:
    """Every metric that the expression reads."""
    text = _RANGE.sub("", _GROUPING.sub("", _STRING.sub("", expression)))
    for name, matchers, call in _SELECTOR.findall(text):
        if not call and name not in _WORDS:
            yield Selector(name, frozenset(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)))


def grouping_labels(expression: str) -> set[str]:
    """Every label that the expression groups or joins by."""
    found = _GROUPING.findall(_STRING.sub("", expression))
    return {label.strip() for group in found for label in group.split(",") if label.strip()}
