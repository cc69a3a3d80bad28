import hashlib

import numpy as np

from schemas.categories import code_of
from schemas.codec import Encoder
from schemas.columns import ColumnReader
from scoring.vectors import Vectorizer, packed_vectors

INPUTS = ("card.count_1h", "event.amount", "card.mean_1h", "event.online")


def record(**changes):
    return {
        "event": {"amount": 2.5, "online": True},
        "card": {"count_1h": 3, "mean_1h": None},
        **changes,
    }


def test_values_are_in_the_order_of_the_models_inputs():
    matrix = Vectorizer(INPUTS).vectors([record(card={"count_1h": 3, "mean_1h": 0.25})])
    assert matrix.dtype == np.float32
    assert matrix.tolist() == [[3.0, 2.5, 0.25, 1.0]]


def test_null_is_nan():
    assert np.isnan(Vectorizer(INPUTS).vectors([record()])[0, 2])


def test_all_inputs_of_a_view_without_an_entity_are_nan():
    matrix = Vectorizer(INPUTS).vectors([record(card=None)])
    assert np.isnan(matrix[0]).tolist() == [True, False, True, False]


def test_a_double_beyond_float32_becomes_infinite_without_a_warning(recwarn):
    matrix = Vectorizer(INPUTS).vectors([record(event={"amount": 1e300, "online": False})])
    assert np.isposinf(matrix[0, 1])
    assert not recwarn


def test_no_records_give_an_empty_matrix_of_the_right_width():
    assert Vectorizer(INPUTS).vectors([]).shape == (0, 4)


def test_packed_vectors_unpack_to_the_same_bits():
    vectors = np.array([[1.5, np.nan], [-np.inf, 1e-40], [0, 1]], dtype=np.float32)
    packed = packed_vectors(vectors)
    assert list(map(len, packed)) == [8, 8, 8]
    assert np.frombuffer(b"".join(packed), dtype="<f4").tobytes() == vectors.tobytes()


def test_a_category_is_its_code_one_by_one_and_in_columns_alike():
    schema = {
        "type": "record",
        "name": "Features",
        "fields": [
            {
                "name": "event",
                "type": {
                    "type": "record",
                    "name": "Event",
                    "fields": [
                        {"name": "country", "type": ["null", "string"]},
                        {"name": "shop", "type": ["null", "long"]},
                        {"name": "amount", "type": "double"},
                    ],
                },
            }
        ],
    }
    values = [("DE", 2**53 + 1, 1.0), (None, None, 2.0), ("Åland", -3, 3.0), ("", 0, 4.0)]
    records = [{"event": dict(zip(("country", "shop", "amount"), row, strict=True))} for row in values]
    vectorizer = Vectorizer(("event.country", "event.amount", "event.shop"), categories=("event.country", "event.shop"))
    found = vectorizer.vectors(records)
    nan = float("nan")
    expected = [
        [nan if c is None else code_of(c.encode()), a, nan if s is None else code_of(str(s).encode())]
        for c, s, a in values
    ]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    columns = ColumnReader(schema).locate([Encoder(schema).encode(one) for one in records])
    assert columns.plain.all()
    np.testing.assert_array_equal(vectorizer.of_columns(columns), found)


def test_a_code_is_a_whole_number_that_float32_holds():
    assert code_of(b"DE") == 1 + int.from_bytes(hashlib.blake2b(b"DE", digest_size=3).digest(), "big")
    codes = np.array([code_of(str(n).encode()) for n in range(20_000)])
    assert codes.min() >= 1
    assert codes.max() <= 2**24
    assert (codes.astype(np.float32) == codes).all()
    assert len(np.unique(codes)) > 19_980
