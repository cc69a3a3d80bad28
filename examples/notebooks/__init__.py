"""Executed notebooks on the example pipelines, what they read, and :mod:`.execute`, which runs them."""
