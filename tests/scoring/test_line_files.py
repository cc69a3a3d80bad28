"""Files of lines: whatever a killed process left of its last line, the others are read, and the next one is whole."""

from __future__ import annotations

import threading
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel

from penstock.errors import PenstockError
from scoring import line_files
from scoring.line_files import append, read


class Note(BaseModel):
    text: str
    number: int = 0


NOTES = st.lists(st.builds(Note, text=st.text(), number=st.integers()), min_size=1, max_size=4)


def notes(path: Path) -> list[Note]:
    return read(path, Note, "a line that is no note", "all else is as it was")


def add(path: Path, *added: Note) -> None:
    append(path, "".join(note.model_dump_json() + "\n" for note in added))


@given(before=NOTES, after=NOTES, share=st.floats(0, 1))
@example(before=[Note(text="é\u2028")], after=[Note(text="x")], share=12 / 29)
def test_a_file_that_was_cut_at_any_byte_is_read_and_goes_on(
    before: list[Note], after: list[Note], share: float
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "notes.jsonl"
        add(path, *before)
        content = path.read_bytes()
        kept = content[: round(share * len(content))]
        path.write_bytes(kept)
        ends = accumulate(len(note.model_dump_json().encode()) + 1 for note in before)
        whole = [note for note, end in zip(before, ends, strict=True) if len(kept) >= end - 1]
        assert notes(path) == whole
        add(path, *after)
        assert notes(path) == [*whole, *after]
        assert path.read_bytes().count(b"\n") == len(whole) + len(after)


def test_a_whole_line_that_a_person_left_without_a_line_break_counts(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text('{"text": "by hand"}', encoding="utf-8")
    add(path, Note(text="x"))
    assert notes(path) == [Note(text="by hand"), Note(text="x")]


@pytest.mark.parametrize("content", ['{"text": "x"\n', '{"text": 1}', '\n{"text": "x"}\n'])
def test_a_whole_line_that_is_no_record_is_an_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PenstockError, match="a line that is no note") as caught:
        notes(path)
    assert caught.value.where == f"{path}, line 1"


def test_a_disk_that_takes_a_part_of_a_line_gets_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(line_files.FileIO):
        def write(self, content: Any) -> int:
            return super().write(bytes(content)[:3])

    monkeypatch.setattr(line_files, "FileIO", Slow)
    add(tmp_path / "notes.jsonl", Note(text="a long one"))
    assert notes(tmp_path / "notes.jsonl") == [Note(text="a long one")]


def test_who_cuts_a_line_off_does_not_cut_off_what_others_have_written_since(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(b'{"text": "to')
    other, is_torn = threading.Thread(target=add, args=(path, Note(text="other"))), line_files._is_torn

    def while_the_other_writes(last: bytes) -> bool:
        if not other.ident:
            other.start()
            other.join(0.2)  # it waits for the lock
        return is_torn(last)

    monkeypatch.setattr(line_files, "_is_torn", while_the_other_writes)
    add(path, Note(text="own"))
    other.join()
    assert notes(path) == [Note(text="own"), Note(text="other")]


def test_a_file_system_without_locks_takes_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks")

    monkeypatch.setattr(line_files.fcntl, "flock", refuse)
    add(tmp_path / "notes.jsonl", Note(text="x"))
    assert notes(tmp_path / "notes.jsonl") == [Note(text="x")]
