"""What the tutorial shows is compared with what was printed, as far as it is the same in each run."""

from __future__ import annotations

import pytest

from tests.tutorial.steps import missing

_PRINTED = "made 4 files\nAUC   0.9637\nready at 17.2 s\nwritten to out.html\n"


@pytest.mark.parametrize(
    ("shown", "differs"),
    [
        ("made 4 files\nwritten to out.html", []),
        ("AUC 0.9121\nready at 3.1 s", []),
        ("...\nwritten to ...", []),
        ("made 5 files", ["made 5 files"]),
        ("written to out.html\nmade 4 files", ["made 4 files"]),
        ("made ... file", ["made ... file"]),
    ],
)
def test_a_page_shows_lines_that_were_printed_in_this_order(shown: str, differs: list[str]) -> None:
    assert missing(shown, _PRINTED) == differs
