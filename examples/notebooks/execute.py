"""Runs a notebook's cells in order and writes what they print and show into it, as Jupyter would; needs no Jupyter.

::

    python -m examples.notebooks.execute examples/notebooks/training_set.ipynb

The same cells give the same outputs: no times, no counters of earlier runs, and files go to a new folder. What cells
write to standard error is not kept.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import copy
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import matplotlib as mpl

from penstock.errors import PenstockError

Notebook = dict[str, Any]


def main() -> None:
    """Execute the notebooks that the command line names, in place."""
    parser = argparse.ArgumentParser(description="Run notebooks and write the outputs of their cells into them.")
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    for path in parser.parse_args().notebooks:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            executed = execute(notebook, path.name)
        path.write_text(json.dumps(executed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def execute(notebook: Notebook, name: str) -> Notebook:
    """The notebook with the outputs of its code cells, which run in one namespace and in the current folder.

    Args:
        notebook: As its file says, in nbformat 4.
        name: Its name, for errors.

    Raises:
        PenstockError: if a cell fails; its error is the cause.
    """
    result = copy.deepcopy(notebook)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in result["cells"] if cell["cell_type"] == "code"]
    # Tables as text are as wide as the terminal, if there is one.
    with mpl.rc_context({"backend": "agg"}), patch.dict(os.environ, COLUMNS="100", LINES="60"):
        for number, cell in enumerate(cells, 1):
            try:
                outputs = _run("".join(cell["source"]), namespace, number)
            except Exception as error:
                raise PenstockError(
                    f"a cell of the notebook failed: {type(error).__name__}: {error}",
                    where=f"{name}, code cell {number}",
                    safe="the notebook was not changed",
                    next="correct the cell, then execute the notebook again",
                ) from error
            cell |= {"execution_count": number, "outputs": outputs}
    return result


def _run(source: str, namespace: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """Run one cell; return what it printed, the value of its last line, and its plots."""
    program, last, value = ast.parse(source), None, None
    final = program.body[-1] if program.body else None
    # A semicolon at the end hides the value, as in Jupyter.
    if isinstance(final, ast.Expr) and not source.rstrip().endswith(";"):
        last = ast.Expression(final.value)
        program.body.pop()
    place = f"<cell {number}>"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(program, place, "exec"), namespace)  # noqa: S102 - to run code is what it is for
        if last is not None:
            value = eval(compile(last, place, "eval"), namespace)  # noqa: S307 - as above
    outputs: list[dict[str, Any]] = []
    if text := printed.getvalue():
        outputs.append({"name": "stdout", "output_type": "stream", "text": _lines(text)})
    if value is not None:
        shown = {"data": _shown(value), "execution_count": number, "metadata": {}, "output_type": "execute_result"}
        outputs.append(shown)
    return outputs + [{"data": data, "metadata": {}, "output_type": "display_data"} for data in _plots()]


def _shown(value: Any) -> dict[str, list[str]]:
    """A value as text, and as HTML if it has a form of it."""
    html = value._repr_html_() if hasattr(value, "_repr_html_") else None
    return ({} if html is None else {"text/html": _lines(html)}) | {"text/plain": _lines(repr(value))}


def _plots() -> list[dict[str, Any]]:
    """The plots that a cell has drawn with pyplot; they are closed."""
    from matplotlib import pyplot as plt  # noqa: PLC0415 - takes the backend that is set by then

    shown = []
    for number in plt.get_fignums():
        image = io.BytesIO()
        plt.figure(number).savefig(image, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
        shown.append({"image/png": base64.b64encode(image.getvalue()).decode(), "text/plain": ["<Figure>"]})
    plt.close("all")
    return shown


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


if __name__ == "__main__":
    main()
