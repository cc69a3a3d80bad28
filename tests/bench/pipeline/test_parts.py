from tests.bench.pipeline.parts import Rate, Sample, rate_of


def test_a_rate_counts_from_the_first_sample_to_the_last() -> None:
    samples = [Sample(10.0, 500, {"part": 1.0}), Sample(11.0, 900, {"part": 1.2}), Sample(14.0, 2_500, {"part": 2.0})]
    assert rate_of(samples) == Rate(500, 4.0, {"part": 500.0})
