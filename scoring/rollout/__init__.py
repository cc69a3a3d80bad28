"""Rollouts: which versions of a model score which entities, and the statistics that decide it. No topic, no clock."""
