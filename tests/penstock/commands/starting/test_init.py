"""`penstock init` asks on a terminal, and without one needs answers or --yes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from penstock.cli import cli
from penstock.commands.starting import init as module
from penstock.errors import PenstockError
from penstock.starting.roles import Question
from tests.penstock.starting.examples import write_csv, write_jsonl

ORDER = '{"order_id": "1", "at": 1772366400000, "card_id": "c"}'


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What it prints.

    Raises:
        PenstockError: what it refuses with.
    """
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(cli, ["init", *arguments])
    if isinstance(result.exception, PenstockError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_without_a_terminal_each_open_question_is_named_with_its_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "orders.jsonl")
    with pytest.raises(PenstockError, match="4 questions to answer") as refused:
        run(tmp_path, monkeypatch, "shop_asked", "--file", "orders.jsonl")
    options = re.findall(r"\]: (--\S+ \S+)", refused.value.where or "")
    assert options == [
        "--entity COLUMN",
        "--personal cart_for=hash",
        "--personal customer_e_mail=hash",
        "--personal customer_first_name=drop",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["orders.jsonl"]
    answers = ["--entity", "customer_id", *" ".join(options[1:]).split()]
    assert "taken without asking" not in run(tmp_path, monkeypatch, "shop_asked", "--file", "orders.jsonl", *answers)


def test_yes_takes_what_is_safe_and_says_so_and_the_commands_that_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "orders.csv")
    output = run(tmp_path, monkeypatch, "shop_yes", "--file", "orders.csv", "--yes")
    assert "taken without asking: first_name: drop" in output
    assert "e-mail: e-mail addresses, hashed" in output
    assert "penstock play orders.csv --as shop_yes/pipeline.py --speed max" in output
    assert "export PENSTOCK_PII_KEY_FILE" in output, "without a key to hash with, no job starts"
    assert "penstock play orders.csv" in (tmp_path / "shop_yes" / "README.md").read_text()


def test_on_a_terminal_the_safe_answer_is_the_default_and_another_is_checked() -> None:
    asked = []

    def ask(text: str, **options: object) -> str:
        asked.append((text, options["default"]))
        return "keep"

    settling = module._Settling(yes=False, is_terminal=True, ask=ask)
    question = Question("personal", "card has card numbers?", ("hash", "keep"), "hash", "--personal card=hash", "card")
    assert settling.settle(question) == "keep"
    assert asked == [("card has card numbers?", "hash")]
    settling.require_answers()
    entities = Question("entities", "Which?", ("card", "user"), "card", "--entity COLUMN")
    assert module._of(entities, "user, card") == "user, card"
    with pytest.raises(click.BadParameter):
        module._of(entities, "cart")


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        ("a.jsonl", "", "there is no line with an event"),
        ("a.jsonl", "[1]\nx\n", "there is no line with an event: line 1: not a JSON object"),
        ("a.csv", "", "there is no line with an event"),
        ("a.csv", "order_id,at,card_id\n", "there is no line with an event"),
        ("a.csv", "at,card_id,at\n1772366400000,c,2\n", "two columns have the same name, at"),
        ("a.csv", "order_id;at;card_id\n1;1772366400000;c\n", "separated by semicolons, and must be by commas"),
        ("a.csv", b"order_id,at,card_id\n1,1772366400000,J\xfcrgen\n", "it is not UTF-8"),
        ("a.parquet", "x", "the file cannot be read"),
        ("a.xlsx", "x", "says no format"),
    ],
)
def test_a_file_without_events_is_refused(
    name: str, text: str | bytes, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(PenstockError, match=what) as refused:
        run(tmp_path, monkeypatch, "shop_empty", "--file", name, "--yes")
    assert refused.value.safe == "nothing was written"


def test_a_line_that_cannot_be_read_is_told_and_the_others_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jsonl").write_text(f"{ORDER}\n{{\n")
    output = run(tmp_path, monkeypatch, "shop_bad", "--file", "a.jsonl", "--yes")
    assert "1 row could not be read and would be refused: line 2: not JSON" in output


def test_a_row_unlike_nearly_all_others_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text(f"{ORDER}\n" * 30 + '{"order_id": "1", "card_id": "c"}\n')
    output = run(tmp_path, monkeypatch, "shop_stray", "--file", "a.jsonl", "--yes", "--entity", "card_id")
    assert "1 row unlike nearly all others left out of what is inferred, and would be refused: line 31: at" in output
    said = run(tmp_path, monkeypatch, "shop_told", *["--file", "a.jsonl", "--yes", "--entity", "card_id", "--json"])
    assert json.loads(said)["strays"] == ["line 31: at has no time, as nearly all others have"]


def test_no_more_rows_are_looked_at_than_the_sample_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jsonl").write_text(f'{ORDER}\n{ORDER[:-1]}, "price": 1}}\n')
    run(tmp_path, monkeypatch, "shop_cut", "--file", "a.jsonl", "--yes", "--sample", "1")
    assert "price" not in (tmp_path / "shop_cut" / "pipeline.py").read_text()


def test_one_source_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli, ["init", "shop"]).exit_code == 2


def test_json_has_what_was_inferred_asked_and_written_and_asks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "orders.jsonl")
    monkeypatch.chdir(tmp_path)
    init = ["init", "shop_json", "--file", "orders.jsonl", "--json"]
    asked = CliRunner(mix_stderr=False).invoke(cli, init)
    assert isinstance(asked.exception, PenstockError)
    open_ = json.loads(asked.stdout)
    assert ([one["answer"] for one in open_["asked"]], open_["files"]) == ([None] * 4, [])
    assert [path.name for path in tmp_path.iterdir()] == ["orders.jsonl"]
    done = CliRunner(mix_stderr=False).invoke(cli, [*init, "--yes"])
    assert done.exit_code == 0, done.stderr
    written = json.loads(done.stdout)
    assert [one["answer"] for one in written["asked"]] == [one["safe"] for one in written["asked"]]
    assert written["personal"]["customer_e_mail"] == {"what": "e-mail addresses", "treatment": "hash"}
    assert {*written["files"]} == {
        str(path.relative_to(tmp_path)) for path in (tmp_path / "shop_json").rglob("*") if path.is_file()
    }
    same = ("project", "event_time", "event_id", "entities", "columns", "left_out", "means")
    assert {name: open_[name] for name in same} == {name: written[name] for name in same}
    assert written["event_time"] == {"column": "ordered_at", "unit": "iso8601"}
