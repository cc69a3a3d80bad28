"""A view is added where a reader would add it; what cannot be edited surely is left, and the code is given."""

from __future__ import annotations

import ast

import pytest

from penstock.errors import PenstockError
from penstock.starting.new_view import NewView, with_view

VIEW = NewView("user_view", "user", ["amount"], [86_400_000, 3_600_000])
HEAD = "from penstock import Entity, Pipeline, View, count\n\n# Ünïcode\nperson = Entity(name='user', key='user_id')\n"


@pytest.mark.parametrize(
    ("views", "after"),
    [
        ("(habits,)", "(habits, user_view)"),
        ("(habits, others)", "(habits, others, user_view)"),
        ("[habits]", "[habits, user_view]"),
        ("(\n        habits,\n        others,  # of ü\n    )", "(habits, others, user_view)"),
        ("()", "(user_view,)"),
    ],
)
def test_the_view_is_defined_before_the_pipeline_and_named_in_it(views: str, after: str) -> None:
    code = with_view(f"{HEAD}\nname = 'ü'\npipeline = Pipeline(name='a', views={views}, model=None)\n", VIEW, "a.py")
    tree = ast.parse(code)
    names = [node.targets[0].id for node in tree.body if isinstance(node, ast.Assign)]  # type: ignore[attr-defined]
    assert names == ["person", "name", "user_view", "pipeline"]
    call = tree.body[-1].value  # type: ignore[attr-defined]
    assert ast.unparse(call.keywords[1].value) == after
    assert "# Ünïcode" in code
    imported = {alias.name for alias in tree.body[0].names}  # type: ignore[attr-defined]
    assert imported == {"Entity", "Pipeline", "View", "count", "mean", "time_since_previous"}
    assert "entity=person," in code
    assert 'count(over=("1h", "1d"))' in code


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (HEAD + "pipeline = Pipeline(name='a', views=VIEWS)", "not of the form"),
        (HEAD + "pipeline = make()", "not of the form"),
        ("from penstock import Pipeline\nfrom b import user\npipeline = Pipeline(views=())", "not of the form"),
        (HEAD + "user_view = 1\npipeline = Pipeline(views=())", "has another user_view"),
        (HEAD.replace("from penstock", "from penstock.all") + "pipeline = Pipeline(views=())", "does not import"),
        (HEAD.replace("count", "count as counted") + "pipeline = Pipeline(views=())", "does not import"),
    ],
)
def test_code_of_another_form_is_left_and_the_view_is_given_for_copying(code: str, what: str) -> None:
    with pytest.raises(PenstockError, match=what) as refused:
        with_view(code, VIEW, "a.py")
    assert refused.value.safe == "it was not changed"
    assert "user_view = View(" in (refused.value.next or "")
