"""How Penstock is run: set-up of a machine, the local stack, images and clusters. No pipeline logic lives here."""
