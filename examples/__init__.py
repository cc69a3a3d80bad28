"""Example pipelines, one folder each: `fraud` (seeded generator) and `flights` (real flights of 2013)."""
