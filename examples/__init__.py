"""Example pipelines, one folder each: `fraud` (seeded) and `flights` (real flights of 2013); and notebooks on them."""
