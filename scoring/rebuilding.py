"""Compares a version with the same version made again: its data, its files, its manifest, and what made it. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.counts import counted
from scoring.provenance import ENVIRONMENT_FILE
from scoring.recipe import DataRecipe, Recipe, TopicRead
from scoring.trained_model import ImportManifest, Manifest
from scoring.training_set import EVENTS, LABEL
from scoring.version_files import BACKEND_FILE, HASHES_FILE, MANIFEST_FILE

# Triton's backend is Penstock's own, not the model's; the others say who made the version, when, and with what.
_NOT_COMPARED = frozenset({BACKEND_FILE, ENVIRONMENT_FILE, HASHES_FILE, MANIFEST_FILE})
_WHEN_AND_WHERE = frozenset({"provenance", "libraries", "recipe"})
# Another backfill may have the same labelled events among others: the set is the same, these counts are not.
_WHERE_FROM = frozenset({"read", "offsets"})
_MOST_PACKAGES = 20


class Difference(NamedTuple):
    """What of a version is not the same again: a file, a field of the manifest, a column, a topic; and how."""

    where: str
    what: str


@dataclass(frozen=True)
class Comparison:
    """What came of making a version again.

    Args:
        differences: What is not the same; empty if all is.
        changes: What is otherwise now than when the version was made, of which the differences may come.
        files: The SHA-256 of each file as it was made again, by name; empty if the data differ, as it was not made.
    """

    differences: tuple[Difference, ...]
    changes: tuple[Difference, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_same(self) -> bool:
        """Whether all files have the same bytes, and the manifest says the same of the model."""
        return not self.differences


def data_differences(recorded: DataRecipe, found: DataRecipe) -> list[Difference]:
    """What of a training set is not as it was: its topics, then its events, or single columns of them."""
    differences = [
        Difference(f"topic {topic}", _of_topic(read, found.topics[topic]))
        for topic, read in recorded.topics.items()
        if topic in found.topics and read != found.topics[topic]
    ]
    if recorded.columns[EVENTS] != found.columns[EVENTS]:
        then, now = counted(recorded.events, "event"), counted(found.events, "event")
        others = f"{then} then, {now} now" if then != now else f"{then}, but not the same"
        return [*differences, Difference("training set", f"other events: {others}")]
    for name, of in recorded.columns.items():
        if of != found.columns.get(name):
            what = "the labels" if name == LABEL else f"input {name}"
            differences.append(Difference("training set", f"{what}: other values"))
    return differences


def _of_topic(then: TopicRead, now: TopicRead) -> str:
    numbers = f"{counted(then.records, 'record')} then, {now.records:,} now, at the same offsets"
    if now.records < then.records:
        return f"{numbers}: retention, compaction or an erasure deleted some"
    if now.records > then.records:
        return f"{numbers}: some were added"
    return f"{numbers}, but not with the same content: the topic was written anew"


def definition_changes(
    manifest: Manifest, recipe: Recipe, now: Mapping[str, str], views: Mapping[str, str]
) -> list[Difference]:
    """Which parts of the definition, and which views, are not as they were when the version was made."""
    changes = [
        Difference(f"definition of {part}", "it has changed")
        for part, of in recipe.definition.items()
        if now[part] != of
    ]
    return changes + [
        Difference(f"view {name}", f"{of} then, {views.get(name, 'not an input')} now")
        for name, of in manifest.views.items()
        if views.get(name) != of
    ]


def making_changes(manifest: Manifest, made: Manifest, lock: str, now: str) -> list[Difference]:
    """What made the version otherwise than it is made now: parameters, code, packages, machine.

    Args:
        manifest: Its manifest.
        made: The manifest as it was made again.
        lock: The lock of its environment.
        now: That of the present one.
    """
    then, again = manifest.recipe, made.recipe
    assert then is not None, "it was made again by it"
    assert again is not None, "as above"
    changes = _changed("parameter", then.parameters, again.parameters)
    if then.trainer != again.trainer:
        changes.append(Difference("training function", "its source, or that of a module beside it, has changed"))
    changes += _changed("package", manifest.libraries, made.libraries)
    named = {change.where for change in changes}
    others = [change for change in _changed("package", _packages(lock), _packages(now)) if change.where not in named]
    changes += others[:_MOST_PACKAGES]
    if more := len(others) - _MOST_PACKAGES:
        changes += [Difference("packages", f"{more:,} more differ, see {ENVIRONMENT_FILE}")] if more > 0 else []
    if then.code != again.code:
        changes.append(Difference("Penstock", f"another source than that of then{_releases(manifest, made)}"))
    return changes + _changed("machine", then.machine, again.machine)


def file_differences(then: Mapping[str, bytes], now: Mapping[str, bytes]) -> list[Difference]:
    """Which files of a version are not byte for byte the same, by name; those that are not the model's do not count."""
    found = []
    for name in sorted({*then, *now} - _NOT_COMPARED):
        if name not in now:
            found.append(Difference(name, "not made this time"))
        elif name not in then:
            found.append(Difference(name, "the version has no such file"))
        elif then[name] != now[name]:
            found.append(Difference(name, f"SHA-256 {_sha256(then[name])[:16]} then, {_sha256(now[name])[:16]} now"))
    return found


def manifest_differences(then: Manifest, now: Manifest) -> list[Difference]:
    """Which fields of the manifest differ, but for those that say who made the version, when, with what, from where."""
    passed_over = {*_WHEN_AND_WHERE, *_WHERE_FROM, *({"file"} if isinstance(then, ImportManifest) else ())}
    return _fields(*(one.model_dump(mode="json", exclude=passed_over) for one in (then, now)))


def source_changes(then: Manifest, now: Manifest) -> list[Difference]:
    """How many events and labels were read, and at which offsets, if that is not as it was."""
    return _fields(*(one.model_dump(mode="json", include={*_WHERE_FROM}) for one in (then, now)))


def _fields(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    left, right = _flat(then), _flat(now)
    return [
        Difference(MANIFEST_FILE, f"{name}: {_short(left.get(name))} then, {_short(right.get(name))} now")
        for name in sorted({*left, *right})
        if left.get(name) != right.get(name)
    ]


def hashes_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of each file that is the model's, by name."""
    return {name: _sha256(content) for name, content in sorted(files.items()) if name not in _NOT_COMPARED}


def _changed(kind: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    return [
        Difference(f"{kind} {name}", f"{then.get(name, 'none')} then, {now.get(name, 'none')} now")
        for name in sorted({*then, *now})
        if then.get(name) != now.get(name)
    ]


def _packages(lock: str) -> dict[str, str]:
    return dict(line.split("==", 1) for line in lock.splitlines() if "==" in line)


def _releases(manifest: Manifest, made: Manifest) -> str:
    then, now = manifest.provenance, made.provenance
    return f": {then.penstock} then, {now.penstock} now" if then and now and then.penstock != now.penstock else ""


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of nested objects by their paths."""
    found: dict[str, Any] = {}
    for name, value in content.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _short(value: object) -> str:
    """A number or a short text; of anything longer only that it is there, as it may quote values of records."""
    text = str(value)
    return text if isinstance(value, float | int | None) or len(text) <= 24 else "another"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def named(differences: Iterable[Difference]) -> list[dict[str, str]]:
    """Differences as the content of JSON objects."""
    return [difference._asdict() for difference in differences]
