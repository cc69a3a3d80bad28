"""The benchmark of the feature engine (`make bench-engine`) and its peers; see docs/reference/benchmarks.md."""
