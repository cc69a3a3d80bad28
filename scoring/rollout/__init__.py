"""Rollouts: what decides whether a candidate may serve more events. Statistics and their states; no topic, no file."""
