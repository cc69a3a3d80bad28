from __future__ import annotations

import json

from tests.bench.causes import main


def test_nine_in_ten_causes_of_worlds_that_no_rule_was_tried_on_are_right(tmp_path):
    main(["--seeds", "1", "--out", str(tmp_path / "causes.json")])
    found = json.loads((tmp_path / "causes.json").read_text())
    assert found["worlds"] == 14
    assert found["right"] >= 13
