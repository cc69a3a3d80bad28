"""Reads rollout policies from files, YAML or Python, and says how a file differs from what is published."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from penstock.errors import PenstockError
from scoring.rollout.policy import Arm, Exploration, PublishedPolicy, RolloutPolicy
from streams.definitions.base import Definition
from streams.definitions.importing import import_file
from streams.definitions.loading import definition_error
from streams.definitions.rollout import Step
from streams.definitions.windows import duration_text

_SAFE = "no policy was changed"
_PARTS: Mapping[str, type[Definition]] = {"arms": Arm, "steps": Step, "exploration": Exploration}


def read_policy(file: Path) -> RolloutPolicy:
    """The policy in a file: a YAML mapping, or ``policy = RolloutPolicy(...)`` in Python; ``-`` is YAML from stdin.

    Raises:
        PenstockError: if there is no such file, or no valid policy in it; the message names each field that is wrong,
            and what is allowed.
    """
    if file == Path("-"):
        return _from_yaml(sys.stdin.buffer.read(), "standard input")
    if not file.is_file():
        raise PenstockError("there is no such file", where=str(file), safe=_SAFE)
    if file.suffix == ".py":
        return _from_python(file.resolve())
    if file.suffix in (".yaml", ".yml"):
        try:
            return _from_yaml(file.read_bytes(), str(file))
        except OSError as error:
            raise PenstockError(f"the file cannot be read: {error.strerror}", where=str(file), safe=_SAFE) from error
    raise PenstockError(
        f"a file of a policy ends with .yaml, .yml or .py, not {file.suffix or 'without any of them'}",
        where=str(file),
        safe=_SAFE,
    )


def diff(published: PublishedPolicy, file: RolloutPolicy) -> tuple[str, ...]:
    """How a file differs from what is published, a sentence each; empty if and only if it declares the same.

    Weights that follow from steps or rewards are no difference: no file has them.
    """
    ours, theirs = _sections(published.policy), _sections(file)
    found = []
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in theirs:
            found.append(f"{name} is published, and the file has none")
        elif name not in ours:
            found.append(f"{name} is in the file, and not published")
        else:
            label = f"{name}: " if name else ""
            found += [
                f"{label}{field} is {_text(value)}, and {_text(theirs[name][field])} in the file"
                for field, value in ours[name].items()
                if value != theirs[name][field]
            ]
    return tuple(found)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping that has a key twice: YAML's own loader takes the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                problem = f"{key.value} is there twice"
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _from_yaml(text: bytes, where: str) -> RolloutPolicy:
    correct = "correct the file, then try again"
    try:
        content = yaml.load(text.decode(), _UniqueKeys)  # noqa: S506 - it is a SafeLoader
    # The loader lets out what Python says of a value such as 2026-13-01, and of too deep a nesting.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        said = str(error) if isinstance(error, yaml.YAMLError) else f"{type(error).__name__}: {error}"
        raise PenstockError(f"the file is no YAML: {said}", where=where, safe=_SAFE, next=correct) from error
    if not isinstance(content, dict):
        raise PenstockError("the file has no policy", where=where, safe=_SAFE, next=_fields_of(RolloutPolicy))
    if bare := "; ".join(_times_without_unit(content)):
        raise PenstockError(bare, where=where, safe=_SAFE, next=correct)
    try:
        return RolloutPolicy.model_validate(content)
    except ValidationError as error:
        what = "; ".join(map(_sentence, error.errors(include_url=False)))
        raise PenstockError(what, where=where, safe=_SAFE, next=correct) from error


def _times_without_unit(content: Mapping[Any, Any]) -> Iterator[str]:
    """The times that are bare numbers: milliseconds in a published policy, and seconds in most people's minds."""
    steps = content.get("steps")
    for place, step in enumerate(steps if isinstance(steps, list) else ()):
        for name in ("least_time", "most_time"):
            value = step.get(name) if isinstance(step, dict) else None
            if isinstance(value, int):
                yield f"steps[{place}].{name}: {value} has no unit; write {value}s, {value}m, {value}h or {value}d"


def _from_python(file: Path) -> RolloutPolicy:
    try:
        policy = getattr(import_file(file), "policy", None)
    except PenstockError:
        raise
    except Exception as error:
        raise definition_error(file, error) from error
    if isinstance(policy, RolloutPolicy):
        return policy
    raise PenstockError(
        "the file defines no policy", where=str(file), safe=_SAFE, next="assign a RolloutPolicy to the name 'policy'"
    )


def _sentence(error: ErrorDetails) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    text = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    if error["type"] == "extra_forbidden":
        text = f"there is no such field; {_fields_of(_PARTS.get(str(error['loc'][0]), RolloutPolicy))}"
    elif error["type"] == "missing":
        text = "the field is required"
    return f"{path}: {text}" if path else text


def _fields_of(kind: type[Definition]) -> str:
    return f"the fields are {', '.join(kind.model_fields)}"


def _sections(policy: RolloutPolicy) -> dict[str, dict[str, Any]]:
    """The fields of a policy in groups with names; that of the policy's own fields is empty."""
    fields = policy.model_dump(mode="json")
    arms, steps, exploration = fields.pop("arms"), fields.pop("steps"), fields.pop("exploration")
    sections = {"": fields} | {f"arm {arm['name']}": arm for arm in arms}
    for number, step in enumerate(steps, 1):
        times = {field: duration_text(step[field]) for field in ("least_time", "most_time")}
        sections[f"step {number}"] = step | times
    return sections if exploration is None else sections | {"exploration": exploration}


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "not set" if value is None else str(value)
