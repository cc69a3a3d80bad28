"""Arrival delays of real flights: contract, features and model in `pipeline.py`."""
