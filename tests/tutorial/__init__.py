"""docs/start/tutorial.md, run from a wheel: each command of the page, in an environment outside the repository."""
