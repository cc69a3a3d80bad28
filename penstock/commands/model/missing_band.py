"""The warning about a cascade whose current versions have no band."""

from __future__ import annotations

from penstock.commands.errors import warn
from penstock.errors import PenstockError, naming
from penstock.paths import STRONG
from scoring.bands import band_of
from scoring.repository import ModelRepository
from streams.definitions.loading import load_pipeline


def warn_without_band(reference: str, repository: ModelRepository) -> None:
    """Warn if the pipeline has a cascade, and a scorer does not start with the current versions of its models.

    Nothing is said as long as one of the models has no version.
    """
    pipeline = reference.removesuffix(STRONG)
    model = load_pipeline(pipeline).model
    if model.cascade is None or not all(map(repository.versions, model.names)):
        return
    fast, strong = map(repository.current, model.names)
    try:
        with naming(pipeline):
            band_of(repository, model, fast, strong)
    except PenstockError as error:
        warn(f"{error.what}: no scorer starts with them, and one that runs keeps its versions", str(error.next))
