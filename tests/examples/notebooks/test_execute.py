"""What the executor keeps of a cell: what it prints, the value of its last line, its plots."""

from __future__ import annotations

from typing import Any

import pytest

from examples.notebooks.execute import execute
from penstock.errors import PenstockError


def notebook(*sources: str) -> dict[str, Any]:
    cells = [
        {
            "cell_type": "code",
            "execution_count": 7,
            "metadata": {},
            "outputs": ["old"],
            "source": source.splitlines(True),
        }
        for source in sources
    ]
    return {"cells": [{"cell_type": "markdown", "metadata": {}, "source": ["# Title"]}, *cells], "nbformat": 4}


def outputs(*sources: str) -> list[dict[str, Any]]:
    """The outputs of the last cell."""
    executed: list[dict[str, Any]] = execute(notebook(*sources), "n.ipynb")["cells"][-1]["outputs"]
    return executed


def test_cells_run_in_one_namespace_and_are_counted_from_one() -> None:
    cells = execute(notebook("a = 20", "print('b')\na + 1"), "n.ipynb")["cells"]
    assert [cell.get("execution_count") for cell in cells] == [None, 1, 2]
    assert cells[1]["outputs"] == []
    printed, value = cells[2]["outputs"]
    assert (printed["output_type"], printed["text"]) == ("stream", ["b\n"])
    assert (value["output_type"], value["data"]) == ("execute_result", {"text/plain": ["21"]})


@pytest.mark.parametrize("source", ["1 + 1;", "None", "a = 1", "# nothing", ""])
def test_a_cell_without_a_value_to_show_has_no_output(source: str) -> None:
    assert outputs(source) == []


def test_a_table_is_shown_as_html_and_as_text() -> None:
    (table,) = outputs("import pandas as pd\npd.DataFrame({'a': [1]})")
    assert table["data"]["text/plain"] == ["   a\n", "0  1"]
    assert "<table" in "".join(table["data"]["text/html"])


def test_a_plot_is_an_image_of_the_same_bytes_each_time() -> None:
    source = "from matplotlib import pyplot as plt\nplt.figure(figsize=(1, 1)).gca().plot([1, 2]);"
    (plot,) = outputs(source)
    assert plot["data"]["image/png"].startswith("iVBOR")
    assert outputs(source) == [plot]


def test_an_error_names_the_cell() -> None:
    with pytest.raises(PenstockError, match="ZeroDivisionError") as raised:
        execute(notebook("a = 1", "a / 0"), "n.ipynb")
    assert raised.value.where == "n.ipynb, code cell 2"
