"""Measures the parts of a pipeline behind the window engine, each by itself, as users run it."""
