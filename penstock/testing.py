"""Unit tests of features without a cluster: events in, vectors out, with the semantics of production.

For pytest::

    from penstock.testing import features_of

    def test_spending_adds_up():
        first, second = features_of(pipeline, [payment(amount=10.0), payment(amount=5.0)])
        assert second["card_spend.amount_eur_sum_1h"] == 15.0

docs/guides/testing-features.md has more examples and the format of test files (:func:`read_cases`).
"""

from __future__ import annotations

from streams.inprocess.cases import Case, read_cases
from streams.inprocess.features_of import Event, Features, Outcome, features_of
from streams.inprocess.references import Reference
from streams.inprocess.verdicts import run_case

__all__ = ["Case", "Event", "Features", "Outcome", "Reference", "check_case", "features_of", "read_cases"]


def check_case(case: Case) -> None:
    """Run one case of a test file.

    Raises:
        AssertionError: if an outcome differs from the case's expectation; the message shows the event and the values.
    """
    verdict = run_case(case)
    if not verdict.passed:
        from streams.inprocess.report import failure_text  # noqa: PLC0415 - its tables take a tenth of the import

        raise AssertionError("\n" + failure_text(verdict))
