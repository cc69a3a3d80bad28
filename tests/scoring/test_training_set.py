import numpy as np

from scoring.training_set import FeatureRow, LabelRow, TrainingSet, join

INPUTS = ("event.amount", "card_activity.count_1h")
VIEWS = {"card_activity": "1:abcd"}


def feature(event_id, *values, time=0, as_of=None, position=(0,)):
    vector = np.array(values or (1.0, 2.0), dtype=np.float32)
    return FeatureRow(event_id, time, as_of if as_of is not None else time, 0, position, vector)


def label(event_id, value, known_at=0, position=(0,)):
    return LabelRow(event_id, known_at, position, value)


def joined(features, labels, until_ms=None, **task) -> TrainingSet:
    return join(features, labels, inputs=INPUTS, views=VIEWS, until_ms=until_ms, **task)


def test_events_are_joined_to_their_labels_in_order_of_event_time():
    result = joined(
        [feature("b", 2, 20, time=2), feature("a", 1, 10, time=1)],
        [label("a", True), label("b", False)],
    )
    assert result.event_ids == ("a", "b")
    assert result.event_times.tolist() == [1, 2]
    assert result.X.tolist() == [[1, 10], [2, 20]]
    assert result.X.dtype == np.float32
    assert result.y.tolist() == [1, 0]


def test_of_several_events_with_one_id_the_first_is_used():
    again = feature("a", 9, 9, position=(5, 0, 7))
    first = feature("a", 1, 1, position=(5, 0, 3))
    result = joined([again, first], [label("a", True)])
    assert result.X.tolist() == [[1, 1]]
    assert result.counts.ids_again == 1


def test_a_label_known_only_after_the_limit_is_ignored():
    result = joined(
        [feature("a", time=5), feature("b", time=5)], [label("a", True, 10), label("b", True, 11)], until_ms=10
    )
    assert result.event_ids == ("a",)
    assert result.counts.labels_after_until == 1
    assert result.counts.events_unlabelled == 1


def test_the_latest_label_known_by_the_limit_is_used():
    labels = [label("a", True, 30), label("a", False, 20), label("a", True, 10)]
    assert joined([feature("a")], labels, until_ms=25).y.tolist() == [0]
    assert joined([feature("a")], labels).y.tolist() == [1]


def test_of_labels_with_the_same_time_the_later_arrival_wins():
    labels = [label("a", True, 10, position=(8, 0, 2)), label("a", False, 10, position=(8, 0, 1))]
    assert joined([feature("a")], labels).y.tolist() == [1]


def test_a_null_label_retracts_earlier_labels():
    result = joined([feature("a")], [label("a", True, 10), label("a", None, 20)])
    assert len(result) == 0
    assert result.counts.events_unlabelled == 1


def test_an_event_after_the_limit_is_left_out():
    result = joined([feature("a", time=11)], [label("a", True, 5)], until_ms=10)
    assert len(result) == 0
    assert result.counts.events_after_until == 1


def test_a_late_event_whose_vector_depends_on_events_after_the_limit_is_left_out():
    result = joined([feature("a", time=5, as_of=11)], [label("a", True, 5)], until_ms=10)
    assert len(result) == 0
    assert result.counts.events_after_until == 1


def test_a_later_emission_never_replaces_a_first_one_after_the_limit():
    rows = [feature("a", time=5, as_of=11, position=(1,)), feature("a", time=5, as_of=5, position=(2,))]
    assert len(joined(rows, [label("a", True, 5)], until_ms=10)) == 0


def test_labels_of_unknown_events_and_events_without_label_are_counted():
    result = joined([feature("a"), feature("c")], [label("a", True), label("ghost", True)])
    assert result.counts.labels_without_event == 1
    assert result.counts.events_unlabelled == 1
    assert result.counts.features_read == 2


def test_nulls_stay_nan():
    result = joined([feature("a", np.nan, 3)], [label("a", True)])
    assert np.isnan(result.X[0, 0])
    assert result.X[0, 1] == 3


def test_no_rows_give_an_empty_set_of_the_right_width():
    result = joined([], [])
    assert result.X.shape == (0, 2)
    assert len(result) == 0


def test_the_hash_depends_on_the_content_and_not_on_the_order_of_arrival():
    features = [feature("a", 1, 2, time=1), feature("b", np.nan, 4, time=2)]
    labels = [label("a", True), label("b", False)]
    one = joined(features, labels).data_hash
    assert joined(features[::-1], labels[::-1]).data_hash == one
    assert joined(features, [label("a", False), label("b", False)]).data_hash != one
    assert joined([feature("a", 1, 3, time=1), features[1]], labels).data_hash != one
    assert join(features, labels, inputs=INPUTS, views={"card_activity": "2:abcd"}, until_ms=None).data_hash != one


def test_every_nan_hashes_alike():
    odd = np.array([0x7FC00001, 0x3F800000], dtype=np.uint32).view(np.float32)
    labels = [label("a", True)]
    assert joined([feature("a", *odd)], labels).data_hash == joined([feature("a", np.nan, 1)], labels).data_hash


EVENTS = [feature(name, time=time) for time, name in enumerate("abc")]


def test_values_stay_what_they_are_and_a_null_takes_them_back():
    labels = [label("a", 2.5), label("b", -7.0), label("c", 1.0), label("c", None, known_at=1)]
    result = joined(EVENTS, labels, task="regression")
    assert (result.y.tolist(), result.y.dtype) == ([2.5, -7.0], np.float64)
    assert result.truth.tolist() == [2.5, -7.0]
    assert result.column is None


def test_classes_are_places_among_all_classes_and_one_of_them_is_the_truth():
    labels = [label("a", "dog"), label("b", "cat"), label("c", "eel")]
    result = joined(EVENTS, labels, task="multiclass", positive="dog")
    assert result.classes == ("cat", "dog", "eel")
    assert (result.y.tolist(), result.column) == ([1, 0, 2], 1)
    assert result.truth.tolist() == [1, 0, 0]
    assert result.rows(np.array([False, True, True])).classes == result.classes


def test_a_positive_class_that_no_event_has_is_no_truth():
    result = joined(EVENTS, [label("a", "cat")], task="multiclass", positive="dog")
    assert (result.column, result.truth.tolist()) == (None, [0])


def test_the_hash_depends_on_the_values_and_the_classes():
    def hashed(value, **task):
        return joined(EVENTS, [label("a", value)], **task).data_hash

    assert hashed(1.0, task="regression") != hashed(1.5, task="regression")
    assert hashed(1.0, task="regression") != hashed(True)
    assert hashed("x", task="multiclass", positive="x") != hashed("y", task="multiclass", positive="x")
    assert hashed("x", task="multiclass", positive="x") != hashed("x", task="multiclass", positive="y")


def test_each_column_has_a_hash_that_only_its_own_values_change():
    features, labels = [feature("a", 1, 10), feature("b", 2, 20)], [label("a", True), label("b", False)]
    before = joined(features, labels).column_hashes()
    assert [*before] == ["events", *INPUTS, "label"]

    def changed(features, labels):
        after = joined(features, labels).column_hashes()
        return [name for name in before if before[name] != after[name]]

    assert changed([features[1], features[0]], labels) == []
    assert changed([features[0], feature("b", 2, 20.000002)], labels) == [INPUTS[1]]
    assert changed(features, [labels[0], label("b", True)]) == ["label"]
    assert changed([features[0], feature("b", 2, 20, time=1)], labels) == ["events"]
