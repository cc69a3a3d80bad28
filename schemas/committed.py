"""The committed schemas of a pipeline; every change of a definition is checked against them.

They lie in the folder ``schemas`` beside the pipeline's file::

    avro/<contract>/v<version>.avsc              every version of a contract
    records/features.<pipeline>/<hash>.avsc      every schema that the features topic's records have had
    views/<pipeline>/<view>@<version>.json       every version of a feature view, with its hash

Do not edit these files: ``penstock schemas export`` writes them, ``penstock schemas check`` compares them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from penstock.errors import PenstockError
from penstock.paths import as_typed
from schemas.avro import contract_schema, fields_of, fingerprint
from schemas.compatibility import breaks, optional_changes
from schemas.contract import Contract, ContractField, contract_fields

Kind = Literal["missing", "stale", "changed", "breaking"]


@dataclass(frozen=True)
class Problem:
    """A difference between a definition and the committed schemas.

    ``missing``: not committed yet. ``stale``: only descriptions, the declared compatibility or new optional fields
    differ. An export fixes both. ``changed``: the definition changed without a new version. ``breaking``: a new version
    breaks readers or writers of an old one.
    """

    kind: Kind
    what: str
    file: Path
    next: str

    def __str__(self) -> str:
        return str(PenstockError(self.what, where=as_typed(self.file), next=self.next))


@dataclass(frozen=True)
class PipelineForms:
    """The current contracts, records and views of a pipeline, in the form in which they are committed.

    Args:
        pipeline: The pipeline's name.
        reference: The pipeline as the user named it; messages repeat it in the commands that they propose.
        contracts: The contracts that the pipeline reads.
        records: The current schema of the records that it publishes, by topic.
        views: Hash and definition of each view, and the optional fields beside them, by ``name@version``.
    """

    pipeline: str
    reference: str
    contracts: tuple[type[Contract], ...]
    records: Mapping[str, dict[str, Any]]
    views: Mapping[str, dict[str, Any]]


def export(forms: PipelineForms, root: Path) -> list[Path]:
    """Write the missing and stale files, and return them.

    Raises:
        PenstockError: if a committed version changed, or a new one breaks an old one; no file is written.
    """
    blocking = [p for p in problems(forms, root) if p.kind in ("changed", "breaking")]
    if blocking:
        raise PenstockError(
            blocking[0].what, where=as_typed(blocking[0].file), safe="no file was written", next=blocking[0].next
        )
    written = []
    for file, content in _files(forms, root):
        if not file.exists() or file.read_text(encoding="utf-8") != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
            written.append(file)
    return written


def problems(forms: PipelineForms, root: Path) -> list[Problem]:
    """Return every difference between a pipeline's definitions and its committed schemas."""
    found: list[Problem] = []
    for contract in forms.contracts:
        found += _contract_problems(forms, contract, root)
    for file, content in _files(forms, root):
        if file.suffix == ".json" and file.exists():
            found += _view_problems(forms, file, json.loads(content))
        elif not file.exists():
            name = file.relative_to(root)
            found.append(Problem("missing", f"{name} is not committed", file, _export_command(forms)))
    return found


def require_unchanged(forms: PipelineForms, root: Path) -> None:
    """Check that no committed version changed and no new version breaks an old one; uncommitted ones are allowed.

    Raises:
        PenstockError: for the first such version; names the field that changed, and how to make a new version.
    """
    for problem in problems(forms, root):
        if problem.kind in ("changed", "breaking"):
            raise PenstockError(problem.what, where=as_typed(problem.file), next=problem.next)


def writer_schemas(contract: type[Contract], root: Path) -> list[dict[str, Any]]:
    """Return the schemas that producers of ``contract`` may have used: all committed versions, and the current one."""
    schemas = [schema for _, schema in _committed_versions(contract, root)]
    return _without_duplicates([*schemas, contract_schema(contract)])


def record_schemas(topic: str, current: dict[str, Any], root: Path) -> list[dict[str, Any]]:
    """Return the schemas that records on a Penstock topic may have: all committed ones, and ``current``."""
    return _without_duplicates([*(_load(file) for file in sorted((root / "records" / topic).glob("*.avsc"))), current])


def record_file(topic: str, fingerprint_hex: str, root: Path) -> Path:
    """Return the committed file of a schema of a topic's records, by the schema's fingerprint in hexadecimal."""
    return root / "records" / topic / f"{fingerprint_hex}.avsc"


def _files(forms: PipelineForms, root: Path) -> Iterator[tuple[Path, str]]:
    """Yield every file that an export of the definitions has, with its content."""
    for contract in forms.contracts:
        yield _current_file(contract, root), _json_text(contract_schema(contract))
    for topic, schema in forms.records.items():
        yield record_file(topic, fingerprint(schema).hex(), root), _json_text(schema)
    for view, content in forms.views.items():
        yield root / "views" / forms.pipeline / f"{view}.json", _json_text(content)


def _contract_problems(forms: PipelineForms, contract: type[Contract], root: Path) -> Iterator[Problem]:
    name, version = contract.contract_name, contract.contract_version
    file, fields = _current_file(contract, root), contract_fields(contract)
    versions = _committed_versions(contract, root)
    committed = dict(versions).get(version)
    if committed is not None:
        changes = list(_field_changes(fields_of(committed), fields))
        edit = f"give the contract version={max(v for v, _ in versions) + 1}, then {_export_command(forms)}"
        for change in changes:
            yield Problem("changed", f"contract {name} v{version} is committed and has changed: {change}", file, edit)
        if not changes and committed != contract_schema(contract):
            what = f"{name} v{version}: only descriptions or the compatibility changed"
            yield Problem("stale", what, file, _export_command(forms))
    for old, schema in versions:
        if old < version:
            for broken in breaks(contract.compatibility, old=fields_of(schema), new=fields):
                what = f"contract {name} v{version} breaks v{old} ({contract.compatibility}): {broken}"
                edit = "undo that change, add a new field beside the old one, or declare compatibility='NONE'"
                yield Problem("breaking", what, _contract_file(contract, old, root), edit)


def _field_changes(old: tuple[ContractField, ...], new: tuple[ContractField, ...]) -> Iterator[str]:
    before, after = {f.name: f for f in old}, {f.name: f for f in new}
    for name in before | after:
        if name not in after:
            yield f"{name}: removed"
        elif name not in before:
            yield f"{name}: added"
        else:
            was, now = (side[name].model_dump(mode="json", exclude={"description"}) for side in (before, after))
            yield from (
                f"{name}: {key} was {was.get(key)!r}, is {now.get(key)!r}"
                for key in was | now
                if was.get(key) != now.get(key)
            )
    if list(before) != list(after) and set(before) == set(after):
        yield f"{next(b for b, a in zip(before, after, strict=True) if b != a)}: moved; Avro writes fields in order"


def _view_problems(forms: PipelineForms, file: Path, content: dict[str, Any]) -> Iterator[Problem]:
    committed = _load(file)
    view = file.stem.partition("@")[0]
    latest = max(int(f.stem.partition("@")[2]) for f in file.parent.glob(f"{view}@*.json"))
    edit = f"give View(name={view!r}) version={latest + 1}, then {_export_command(forms)}"
    changes = list(_differences(committed["definition"], content["definition"], ""))
    was, now = (side.get("optional", {}) for side in (committed, content))
    changes = changes or list(optional_changes(was, now))
    for change in changes:
        yield Problem("changed", f"view {file.stem} is committed and has changed: {change}", file, edit)
    if not changes and was != now:
        yield Problem("stale", f"view {file.stem}: only optional fields were added", file, _export_command(forms))


def _differences(old: Any, new: Any, path: str) -> Iterator[str]:
    """Yield each leaf that differs, as ``path: was ..., is ...``."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old | new:
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (was, now) in enumerate(zip(old, new, strict=True)):
            yield from _differences(was, now, f"{path}[{_item_name(was) or number}]")
    elif old != new:
        yield f"{path}: was {_value_text(old)}, is {_value_text(new)}"


def _value_text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_item_name(item) or json.dumps(item) for item in value)}]"
    return "nothing" if value is None else json.dumps(value)


def _item_name(item: Any) -> str | None:
    return item.get("name") or item.get("label") if isinstance(item, dict) else None


def _committed_versions(contract: type[Contract], root: Path) -> list[tuple[int, dict[str, Any]]]:
    files = (root / "avro" / contract.contract_name).glob("v*.avsc")
    versions = {int(match[1]): file for file in files if (match := re.fullmatch(r"v(\d+)", file.stem))}
    return [(version, _load(versions[version])) for version in sorted(versions)]


def _load(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PenstockError(
            f"a committed schema is not JSON: {error}", where=as_typed(file), next=f"git checkout -- {as_typed(file)}"
        ) from error
    return content


def _current_file(contract: type[Contract], root: Path) -> Path:
    return _contract_file(contract, contract.contract_version, root)


def _contract_file(contract: type[Contract], version: int, root: Path) -> Path:
    return root / "avro" / contract.contract_name / f"v{version}.avsc"


def _without_duplicates(schemas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({fingerprint(schema): schema for schema in schemas}.values())


def _export_command(forms: PipelineForms) -> str:
    return f"penstock schemas export {forms.reference}"


def _json_text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
