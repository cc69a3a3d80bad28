"""Models that other libraries trained and exported, for the tests of imports; `export.py` makes them."""
