"""Trials of rollouts on the real stack: bad candidates are stopped by themselves, good ones are promoted."""
