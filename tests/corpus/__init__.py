"""Named cases as data (``*.json``), run by the oracle, the kernel and a real job.

docs/guides/testing-features.md describes their format.
A definition that a case needs goes into ``pipeline.py``; a counter-example that a random test found becomes a case.
"""
