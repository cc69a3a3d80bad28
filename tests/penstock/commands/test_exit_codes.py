"""Every command that ends with a code of its own ends with the one that the reference lists it under."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

import click
import pytest
from click.testing import CliRunner

from backfill.corrections import Outcome
from backfill.dead_letters.reading import Found
from penstock.cli import cli
from penstock.commands.exit_codes import ExitCode
from penstock.paths import ROOT
from scoring.gates.gates import Verdict
from scoring.rebuilding import Comparison, Difference
from sinks.archive.storage import FolderStorage
from tests.backfill.test_manifest import manifest
from tests.penstock.commands.test_verify import Inline
from tests.sinks.archive.archive_helpers import archive_all, record
from tests.verify.test_report import HELD
from verify.report import PipelineReport

_PAGE = ROOT / "docs" / "reference" / "command-line.md"
_RANGE = ("--from", "2026-01-01", "--to", "2026-01-02")
_OURS = ExitCode.CHECK_FAILED, ExitCode.REFUSED, ExitCode.INCONCLUSIVE, ExitCode.NOTHING_TO_DO, ExitCode.INTERRUPTED


class Nothing:
    """Stands for whatever a command opens on its way: every call and every attribute is another."""

    def __init__(self, **given: Any) -> None:
        self.__dict__.update(given)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Nothing()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Nothing()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class End(NamedTuple):
    """How a command is brought to an end: its arguments (FOLDER is an empty one), and what is replaced in its module.

    A name with a dot is of another module.
    """

    command: str
    code: ExitCode
    arguments: tuple[str, ...] = ("fraud",)
    module: str = ""
    replaced: Mapping[str, Any] = MappingProxyType({})
    prepare: Callable[[Path], object] = lambda _: None


def _give(found: Any) -> Callable[..., Any]:
    return lambda *_, **__: found


def _stop(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def _stopped(*_: Any, **__: Any) -> None:
    from backfill.resumable import StoppedError  # noqa: PLC0415 - as the commands do

    raise StoppedError


def _archive_with(missing: int) -> Callable[[Path], object]:
    def write(at: Path) -> None:
        archive_all(FolderStorage(at), [record(n) for n in range(2)])
        for path in list(at.rglob("*.parquet"))[:missing]:
            path.unlink()

    return write


def _set(verdict: str) -> dict[str, Any]:
    found = Nothing(leak_check=SimpleNamespace(verdict=verdict))
    inputs = {"Inputs": Nothing(), "Request": Nothing(), "open_project": Nothing(), "topics_of": Nothing()}
    return inputs | {"registry_schemas": Nothing(), "_in_words": _give(""), "build_training_set": _give((found, False))}


def _judged(verdict: Verdict) -> dict[str, Any]:
    report = Nothing(verdict=verdict, results=(), events=1, version=1, against=None, model="fraud")
    return {
        "backfill.judging.judge_version": _give((report, "hash")),
        "read_backfill": Nothing(),
        "open_project": Nothing(),
        "FORMATS": {"text": print},
        "penstock.commands.model.promotion._refuse": Nothing(),
    }


_BACKFILL, _SCORING = "penstock.commands.backfill", "penstock.commands.backfill_score"
_OUT = ("fraud", *_RANGE, "--out", "FOLDER")
_SCORE = {
    name: Nothing() for name in ("open_project", "limits_in", "_deliver", "_summary", "_warn", "_print", "stop_event")
}
_PLAYED = {
    "require_topics": Nothing(),
    "topic_ids": _give({}),
    "EventOrder": _give(Nothing(count=2, last_ms=0)),
    "_check": Nothing(),
}
_RETRAINED = {
    "read_entries": _give([]),
    "_choose": _give(Nothing(proposal="ret-1", incident="inc-1")),
    "incidents_of": _give({"inc-1": Nothing()}),
    "is_ended": _give(False),
    "Training": _give(Nothing(folder=Path("build/none"), version=_give(2))),
    "_champion": _give(1),
    "exclusive_lock": Nothing(),
}
_ENDS = [
    End("archive compact", ExitCode.NOTHING_TO_DO, ("FOLDER",), prepare=_archive_with(missing=0)),
    End("archive verify", ExitCode.CHECK_FAILED, ("FOLDER",), prepare=_archive_with(missing=1)),
    End(
        "archive run",
        ExitCode.NOTHING_TO_DO,
        ("fraud", "--out", "FOLDER", "--until-caught-up"),
        "penstock.commands.archive",
        {
            "topic_columns": _give({}),
            "require_topics": Nothing(),
            "LagWatch": Nothing(),
            "serve": Nothing(),
            "configure_logging": Nothing(),
            "ArchiveService": _give(Nothing(archived=0)),
            "signal": Nothing(SIGTERM=1, SIGINT=2),
        },
    ),
    End(
        "backfill run",
        ExitCode.NOTHING_TO_DO,
        _OUT,
        _BACKFILL,
        {"run_backfill": _give(manifest(state="complete")), "stop_event": Nothing()},
        prepare=lambda at: manifest(state="complete").save(at),
    ),
    End(
        "backfill run",
        ExitCode.INTERRUPTED,
        _OUT,
        _BACKFILL,
        {"run_backfill": _stopped, "stop_event": Nothing()},
    ),
    End(
        "backfill score",
        ExitCode.NOTHING_TO_DO,
        (*_OUT, "--model", "fraud@1"),
        _SCORING,
        _SCORE | {"backfill.scores.run.score": _give(Nothing(new_rows=0)), "_deliver": _give(0)},
    ),
    End(
        "backfill score",
        ExitCode.INTERRUPTED,
        (*_OUT, "--model", "fraud@1"),
        _SCORING,
        _SCORE | {"backfill.scores.run.score": _stopped},
    ),
    End(
        "demo",
        ExitCode.CHECK_FAILED,
        (),
        "examples.cli",
        {"Stack": Nothing(), "_run": _give(False), "signal": Nothing(), "_prepare_folder": _give(Path())},
    ),
    End(
        "demo",
        ExitCode.INTERRUPTED,
        (),
        "examples.cli",
        {"Stack": Nothing(), "_run": _stop, "signal": Nothing(), "_prepare_folder": _give(Path())},
    ),
    End(
        "dlq replay",
        ExitCode.NOTHING_TO_DO,
        module="penstock.commands.dlq",
        replaced={"find_letters": _give(Found()), "replay_lanes": _give(()), "configure_logging": Nothing()},
    ),
    End(
        "features test",
        ExitCode.CHECK_FAILED,
        ("none.json",),
        "penstock.commands.features.kernel_commands",
        {"read_cases": _give([])},
    ),
    End(
        "job status",
        ExitCode.CHECK_FAILED,
        module="penstock.commands.job",
        replaced={"lifecycle": Nothing(status=_give(None))},
    ),
    End(
        "labels sample",
        ExitCode.NOTHING_TO_DO,
        module="penstock.commands.labels",
        replaced={
            "loop.review_queue.candidates": _give([]),
            "loop.review_queue.ask": _give([]),
            "backfill.topic_reading.topics_of": Nothing(),
        },
    ),
    *(
        End(
            "labels status",
            code,
            module="penstock.commands.labels",
            replaced={
                "_status": _give(Nothing(events=Nothing(events=events), is_changed=True)),
                "_print": Nothing(),
            },
        )
        for code, events in ((ExitCode.CHECK_FAILED, 1), (ExitCode.NOTHING_TO_DO, 0))
    ),
    *(
        End(
            "retrain run", code, module="penstock.commands.retrain", replaced=_RETRAINED | {"carry_out": _give(outcome)}
        )
        for code, outcome in ((ExitCode.REFUSED, "refused"), (ExitCode.INCONCLUSIVE, "undecided"))
    ),
    End(
        "retrain run",
        ExitCode.NOTHING_TO_DO,
        module="penstock.commands.retrain",
        replaced={"read_entries": _give([]), "open_project": Nothing()},
    ),
    *(
        End(f"model {command}", code, arguments, f"penstock.commands.model.{module}", _judged(verdict))
        for command, arguments, module in (
            ("check", ("fraud", "--backfill", "FOLDER"), "check"),
            ("promote", ("fraud", "1", "--backfill", "FOLDER"), "promotion"),
        )
        for verdict, code in ((Verdict.FAIL, ExitCode.REFUSED), (Verdict.INCONCLUSIVE, ExitCode.INCONCLUSIVE))
    ),
    End(
        "model rebuild",
        ExitCode.CHECK_FAILED,
        ("fraud", "1"),
        "penstock.commands.model.rebuilding",
        {"rebuild": _give((Comparison((Difference("events", "fewer"),)), None))},
    ),
    End(
        "model rebuild",
        ExitCode.INTERRUPTED,
        ("fraud", "1"),
        "penstock.commands.model.rebuilding",
        {
            "rebuild": lambda *given: given[4].replay(None, None, None, None, None),
            "plan_again": Nothing(),
            "run_backfill": _stopped,
        },
    ),
    End(
        "parity",
        ExitCode.CHECK_FAILED,
        ("fraud", *_RANGE),
        "penstock.commands.parity",
        {"_compare": _give(Nothing(unexplained=1, findings=Nothing(values=1))), "_print": Nothing()},
    ),
    *(
        End(
            "play",
            code,
            ("pyproject.toml", "--as", "fraud"),
            "penstock.commands.play",
            _PLAYED | {"_sent_before": _give(before), "_play": _give(before + 1)},
        )
        for code, before in ((ExitCode.NOTHING_TO_DO, 2), (ExitCode.INTERRUPTED, 0))
    ),
    End("ps", ExitCode.CHECK_FAILED, module="penstock.running.record", replaced={"home_folder": _give(Path("/none"))}),
    End(
        "rollout diff",
        ExitCode.CHECK_FAILED,
        ("fraud", "-f", "x"),
        "penstock.commands.rollout.looking",
        {"policy_in": Nothing(), "read_policy": Nothing(), "difference": _give(("other arms",))},
    ),
    End(
        "rollout rescore",
        ExitCode.NOTHING_TO_DO,
        ("fraud", "--reason", "x"),
        "penstock.commands.rollout.touching",
        {
            "_find": _give((None, ())),
            "read_policy": Nothing(),
            "configure_logging": Nothing(),
            "rescore": _give([(0, Outcome(corrected_before=3))]),
        },
    ),
    End(
        "schemas check",
        ExitCode.CHECK_FAILED,
        module="penstock.commands.schemas",
        replaced={
            "committed": Nothing(problems=_give([SimpleNamespace(what="other", file=ROOT / "x", next="export")]))
        },
    ),
    End("status", ExitCode.CHECK_FAILED, ("--home", "FOLDER")),
    End(
        "training-set build",
        ExitCode.CHECK_FAILED,
        ("fraud", *_RANGE, "--out", "FOLDER"),
        "penstock.commands.training_set",
        _set("failed"),
    ),
    End(
        "training-set build",
        ExitCode.NOTHING_TO_DO,
        ("fraud", *_RANGE, "--out", "FOLDER"),
        "penstock.commands.training_set",
        _set("passed"),
    ),
    End(
        "up",
        ExitCode.INTERRUPTED,
        ("--home", "FOLDER"),
        "penstock.commands.stack",
        {"Stack": _give(Nothing(up=_stop)), "_ports": Nothing()},
    ),
    End(
        "verify",
        ExitCode.CHECK_FAILED,
        module="penstock.commands.verify",
        replaced={"ProcessPoolExecutor": Inline, "_verify": _give(PipelineReport(**HELD | {"feature_gaps": 1}))},
    ),
]


@pytest.mark.parametrize("end", _ENDS, ids=lambda end: f"{end.command}-{end.code.name}")
def test_a_command_ends_with(end: End, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end.prepare(tmp_path)
    for name, replacement in end.replaced.items():
        monkeypatch.setattr(name if "." in name else f"{end.module}.{name}", replacement)
    arguments = [str(tmp_path) if word == "FOLDER" else word for word in end.arguments]
    done = CliRunner().invoke(cli, [*end.command.split(), *arguments])
    assert done.exit_code == end.code, (done.output, done.exception)


def test_the_reference_lists_who_ends_with_which_code_and_this_test_has_them_all() -> None:
    in_code = {(name, code) for name, command in _leaves(cli, ()) for code in _codes(command) if code in _OURS}
    assert {(end.command, end.code) for end in _ENDS} == in_code
    assert _documented() == in_code


def test_no_command_ends_with_a_bare_number() -> None:
    files = [*(ROOT / "penstock").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]
    bare = re.compile(r"(?:exit|SystemExit)\((?:\d+|.* else \d+)\)$", re.MULTILINE)
    assert [str(file) for file in files if bare.search(file.read_text(encoding="utf-8"))] == []


def _documented() -> set[tuple[str, ExitCode]]:
    rows = re.findall(r"^\| ([\d, ]+) \| (.*) \|$", _PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        (name, ExitCode(int(code)))
        for codes, text in rows
        for code in codes.split(",")
        for name in re.findall(r"`([a-z -]+)`", text)
        if int(code) in _OURS
    }


def _leaves(command: click.Command, names: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(names), command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from _leaves(found, (*names, name))


def _codes(command: click.Command) -> set[ExitCode]:
    """The codes that the function of a command names, and the functions of its module that it calls."""
    waiting, seen, found = [inspect.unwrap(command.callback or print)], set(), set()
    while waiting:
        function = waiting.pop()
        if not isinstance(function, FunctionType) or function in seen:
            continue
        seen.add(function)
        source = inspect.getsource(function)
        found |= {ExitCode[name] for name in re.findall(r"ExitCode\.(\w+)", source)}
        found |= {ExitCode.REFUSED, ExitCode.INCONCLUSIVE} if "EXIT_CODES[" in source else set()
        near = (function.__globals__.get(name) for name in function.__code__.co_names)
        waiting += [other for other in near if getattr(other, "__module__", "") == function.__module__]
    return found
