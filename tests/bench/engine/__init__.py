"""The engine's benchmark (`make bench-engine`): Penstock beside its peers; see docs/reference/benchmarks.md."""
