"""Rollouts: which versions of a model score which entities, as published policies. Pure; no Kafka, no clock."""
