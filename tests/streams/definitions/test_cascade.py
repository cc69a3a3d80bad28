"""The declaration of a cascade."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from penstock.errors import PenstockError
from penstock.paths import ROOT
from streams.definitions.cascade import Cascade
from streams.definitions.loading import load_pipeline
from streams.definitions.pipeline import Model


def model(**changes: object) -> Model:
    fields = {"name": "m", "inputs": ("event.x",), "threshold": 0.5, "positive": "a", "negative": "b"}
    return Model.model_validate(fields | changes)


def test_the_strong_model_takes_all_but_the_name_from_the_fast_one() -> None:
    assert model(cascade=Cascade(strong="big")).strong == model(name="big")


@pytest.mark.parametrize("band", [(0.7, 0.2), (0.5, 0.5), (0.1, float("inf")), (float("nan"), 1.0), "wide"])
def test_a_band_that_is_no_interval_is_refused(band: object) -> None:
    with pytest.raises(ValidationError):
        Cascade.model_validate({"strong": "big", "band": band})


def test_a_model_cannot_be_its_own_strong_model() -> None:
    with pytest.raises(ValidationError, match="model m is fast and strong at once"):
        model(cascade=Cascade(strong="m"))


def test_a_reference_names_the_strong_model_and_one_without_a_cascade_is_refused(tmp_path: Path) -> None:
    source = (ROOT / "examples" / "fraud" / "pipeline.py").read_text()
    with pytest.raises(PenstockError, match="has no cascade, so there is no strong model"):
        load_pipeline("fraud:strong")
    file = tmp_path / "pipeline.py"
    fast = load_pipeline("fraud").model.name
    file.write_text(
        source + '\npipeline = pipeline.model_copy(update={"model": pipeline.model.model_copy(update='
        '{"cascade": __import__("penstock").Cascade(strong="big")})})\n'
    )
    assert load_pipeline(str(file)).model.name == fast
    assert load_pipeline(f"{file}:strong").model.name == "big"
