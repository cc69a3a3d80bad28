"""``penstock model``; nothing here is imported before it is used."""
