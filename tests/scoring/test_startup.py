from dataclasses import replace
from pathlib import Path

import pytest

from penstock.errors import PenstockError
from scoring.model_metadata import ModelMetadata, ModelNotLoaded
from scoring.repository import ModelRepository
from scoring.servers.protocol import ModelServerUnavailable
from scoring.startup import check_model, describe_model, retention_warnings, warm_up
from scoring.training_set import view_versions
from streams.plan.compiler import compile_plan
from tests.other_pipelines import resolved, taps
from tests.scoring.fake_server import FakeServer
from tests.scoring.scorer_bench import define


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return define(tmp_path_factory.mktemp("pipeline"), "startup", partitions=1)[1]


def served(pipeline, inputs=None, views=None, max_batch_size=4096, categories=()) -> ModelMetadata:
    current = {view.name: f"{view.version}:{view.hash}" for view in compile_plan(pipeline).views}
    return ModelMetadata(
        pipeline.model.name,
        3,
        inputs or pipeline.model.inputs,
        current if views is None else views,
        max_batch_size,
        categories=categories,
    )


def refusal(pipeline, model, max_batch=100) -> PenstockError:
    with pytest.raises(PenstockError) as refused:
        check_model(pipeline, compile_plan(pipeline), model, max_batch)
    assert refused.value.next
    return refused.value


def test_a_model_of_the_current_pipeline_is_accepted(pipeline):
    check_model(pipeline, compile_plan(pipeline), served(pipeline), 4096)


def test_inputs_in_another_order_are_refused_naming_the_first_difference(pipeline):
    first, second, third = pipeline.model.inputs
    error = refusal(pipeline, served(pipeline, inputs=(first, third, second)))
    assert f"number 1 is {second!r} there and {third!r} in the model" in error.what


def test_a_missing_input_is_refused(pipeline):
    error = refusal(pipeline, served(pipeline, inputs=pipeline.model.inputs[:2]))
    assert "nothing in the model" in error.what
    assert "2 inputs, the pipeline declares 3" in error.where


def test_a_view_that_changed_since_training_is_refused(pipeline):
    error = refusal(pipeline, served(pipeline, views={"activity": "1:0000000000000000"}))
    assert "view activity is not what the model was trained on" in error.what


def test_a_view_that_the_model_does_not_know_is_refused(pipeline):
    assert "absent then" in refusal(pipeline, served(pipeline, views={})).what


def test_a_view_of_another_pipeline_that_changed_since_training_is_refused():
    definition, others = taps(), resolved(taps())
    plan = compile_plan(definition)
    model = definition.model
    views = view_versions(plan, model.inputs, others)
    described = ModelMetadata(model.name, 3, model.inputs, views, 4096, categories=definition.categories)
    check_model(definition, plan, described, 100, others)
    changed = replace(described, views={**views, "cards:by_card": "1:ffff"})
    with pytest.raises(PenstockError, match="view cards:by_card is not what the model was trained on"):
        check_model(definition, plan, changed, 100, others)


def test_views_that_the_model_does_not_read_are_ignored(pipeline):
    current = served(pipeline).views
    check_model(pipeline, compile_plan(pipeline), served(pipeline, views={**current, "other": "1:ffff"}), 100)


def test_an_input_that_is_a_category_only_here_or_only_in_the_model_is_refused(pipeline):
    error = refusal(pipeline, served(pipeline, categories=("activity.count_1h",)))
    assert error.what == "input 'activity.count_1h' is a number in the pipeline and a category in the model"


def test_batches_larger_than_the_models_maximum_are_refused(pipeline):
    error = refusal(pipeline, served(pipeline, max_batch_size=64))
    assert error.next.endswith("--max-batch 64")


def test_the_fallback_is_the_served_versions_own_file(pipeline):
    name = pipeline.model.name
    assert ModelRepository(Path("models")).model_file(name, 3) == Path("models") / name / "3" / "model.onnx"


def test_the_primary_server_describes_the_model(pipeline):
    primary, fallback = FakeServer(described=served(pipeline)), FakeServer()
    assert describe_model(primary, fallback, "taps") == served(pipeline)
    assert fallback.calls == []


def test_while_the_primary_server_is_down_the_fallback_describes_the_model(pipeline):
    primary = FakeServer(failure=ModelServerUnavailable("down"))
    assert describe_model(primary, FakeServer(described=served(pipeline)), "taps") == served(pipeline)


def test_while_the_primary_server_is_down_a_model_that_the_fallback_lacks_is_the_primarys_error():
    with pytest.raises(ModelServerUnavailable, match="down"):
        describe_model(FakeServer(failure=ModelServerUnavailable("down")), FakeServer(), "taps")


def test_a_model_that_is_not_loaded_is_refused_even_if_the_fallback_has_it(pipeline):
    with pytest.raises(ModelNotLoaded):
        describe_model(FakeServer(), FakeServer(described=served(pipeline)), "taps")


def test_the_primary_server_scores_a_vector_before_the_first_batch(pipeline):
    primary = FakeServer()
    warm_up(primary, served(pipeline))
    assert primary.calls == [(pipeline.model.name, 3, 1, 5.0)]


def test_a_primary_server_that_fails_to_warm_up_does_not_stop_the_scorer(pipeline):
    warm_up(FakeServer(infers=False), served(pipeline))


DAY = 86_400_000


def warnings(raw_ms: int, kept_ms: int, kept_bytes: int = -1) -> list[str]:
    answers = {"predictions.p": {"retention.ms": str(kept_ms), "retention.bytes": str(kept_bytes)}}
    return retention_warnings("events", {"retention.ms": str(raw_ms)}, answers)


@pytest.mark.parametrize(("raw_ms", "kept_ms"), [(7 * DAY, 7 * DAY), (7 * DAY, 8 * DAY), (7 * DAY, -1), (-1, -1)])
def test_predictions_that_are_kept_as_long_as_raw_events_need_no_warning(raw_ms, kept_ms):
    assert warnings(raw_ms, kept_ms) == []


@pytest.mark.parametrize(
    ("raw_ms", "kept_ms", "said"),
    [
        (30 * DAY, 7 * DAY, "kept for 7 days, raw topic events for 30 days"),
        (-1, 7 * DAY, "kept for 7 days, raw topic events for ever"),
        (DAY, 60_000, "kept for 60,000 ms, raw topic events for 1 days"),
    ],
)
def test_predictions_that_are_kept_for_less_time_than_raw_events_are_told_of_with_the_command(raw_ms, kept_ms, said):
    (warning,) = warnings(raw_ms, kept_ms)
    assert said in warning
    assert warning.endswith(f"--entity-name predictions.p --add-config retention.ms={raw_ms}")


def test_predictions_that_are_kept_up_to_a_size_are_told_of():
    (warning,) = warnings(DAY, DAY, kept_bytes=10**9)
    assert "retention.bytes=1,000,000,000" in warning
    assert warning.endswith("retention.bytes=-1")
