"""Gates: what a version of a model must pass before it is served. Statistics and verdicts; no server, no file."""
