from __future__ import annotations

from streams.definitions.sql.__main__ import COMMAND, generated_files


def test_the_tables_of_functions_in_the_docs_are_up_to_date() -> None:
    for file, text in generated_files().items():
        assert file.read_text(encoding="utf-8") == text, f"{file.name} is out of date; run {COMMAND}"
