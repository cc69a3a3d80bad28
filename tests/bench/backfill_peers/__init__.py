"""What backfills and training sets are held against, each run in an environment of its own."""
