"""The verifier's checks of what a scorer published for a bench."""

from __future__ import annotations

from penstock.kafka.names import dead_letters_of
from penstock.kafka.reading import read_topic
from schemas.history import record_decoder
from streams.plan.project import open_project
from tests.scoring.scorer_bench import ScorerBench
from verify.check_cascade import CascadeFindings, check_cascade, chosen_bands
from verify.check_predictions import PredictionFindings, check_predictions
from verify.check_unscored import UnscoredFindings, check_unscored
from verify.emissions import JudgedEvent
from verify.hosted import nobody, triton_scorers
from verify.model_versions import ModelVersions
from verify.published import Published, readable
from verify.run_data import RunData


def verified(bench: ScorerBench) -> tuple[PredictionFindings, UnscoredFindings]:
    """What the verifier finds of the predictions and the scorer's letters."""
    settings, pipeline, project = bench.settings, bench.pipeline, open_project(bench.reference)
    kafka = settings.kafka.access
    features, _ = readable(list(read_topic(kafka, pipeline.features_topic)), project.features_decoder(), "features")
    predictions, _ = readable(
        list(read_topic(kafka, pipeline.predictions_topic)), record_decoder("prediction"), "predictions"
    )
    letters = list(read_topic(kafka, dead_letters_of(pipeline.predictions_topic)))
    repository, model = settings.model_repository, pipeline.model
    replayed = {prediction.replayed.of for prediction in predictions if prediction.replayed is not None}
    with triton_scorers(settings.triton.access, repository) as hosted:
        versions = ModelVersions(repository, hosted)
        unscored = check_unscored(project.plan, model, features, letters, (), lambda _: versions.ways(model), replayed)
        events = {
            record.position: JudgedEvent(record.position, 0, None, record.value["event_id"], 0, {})
            for record in features
            if record.position not in unscored.positions
        }
        found = check_predictions(
            project.plan,
            model,
            events,
            features,
            predictions,
            versions.scorer,
            tolerance_of=versions.tolerance,
            contributions_of=versions.contributions,
        )
    return found, unscored


def verified_cascade(bench: ScorerBench, found: PredictionFindings) -> CascadeFindings:
    """What the verifier finds of the ways that predictions took through a cascade."""
    model, repository = bench.pipeline.model, bench.settings.model_repository
    assert model.cascade is not None
    versions = ModelVersions(repository, nobody)
    bands = chosen_bands(repository / model.name, model)
    return check_cascade(bench.pipeline.name, model, found.judged, versions.scorer, bands, versions.tolerance)


def recorded_rollout(bench: ScorerBench) -> RunData:
    """What the verifier reads of a bench's rollouts."""
    kafka, pipeline, project = bench.settings.kafka.access, bench.pipeline, open_project(bench.reference)

    def predictions(topic: str) -> list[Published]:
        return readable(list(read_topic(kafka, topic)), record_decoder("prediction"), topic)[0]

    features = readable(list(read_topic(kafka, pipeline.features_topic)), project.features_decoder(), "features")[0]
    return RunData(
        sources=((),),
        dead_letters=((),),
        features=features,
        predictions=predictions(pipeline.predictions_topic),
        unscored=list(read_topic(kafka, dead_letters_of(pipeline.predictions_topic))),
        shadows=predictions(pipeline.shadow_topic),
        corrections=predictions(pipeline.corrections_topic),
        rollout=list(read_topic(kafka, pipeline.rollout_topic)),
        rollout_log=list(read_topic(kafka, pipeline.rollout_log_topic)),
    )
