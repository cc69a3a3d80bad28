"""Card fraud: contract, features and model in `pipeline.py`; the seeded world behind it in `generator.py`."""
