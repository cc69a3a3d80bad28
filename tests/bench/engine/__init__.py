"""The engine's benchmark: Penstock beside its peers on the same topic, see docs/benchmarks.md (`make bench-engine`)."""
