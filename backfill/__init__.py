"""Backfill: training sets, and the proof that what was served is what a naive re-computation gives."""
