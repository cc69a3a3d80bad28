"""The quality loop: from an incident to its cause, a proposal, a model trained anew, and the story of it all."""
