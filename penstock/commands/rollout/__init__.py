"""The commands of ``penstock rollout``."""
