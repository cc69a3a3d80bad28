from __future__ import annotations

from loop.lineage import roots_of
from streams.plan.project import open_project


def test_each_input_has_the_raw_columns_that_its_value_is_made_of():
    project = open_project("fraud")
    roots = roots_of(project)
    assert roots.keys() == {*project.pipeline.model.inputs}
    contract = {field for source in project.pipeline.sources for field in source.contract.model_fields}
    for name, columns in roots.items():
        assert columns, name
        assert columns <= contract, name
    assert roots["event.log_amount"] == {"amount"}  # a derived column
    assert roots["card_spend.amount_eur_sum_1h"] == {"amount", "currency"}
    assert roots["card_spend.count_1h"] == {"card_id"}
    assert roots["card_spend.large_24h"] == {"card_id", "amount"}  # by its condition
