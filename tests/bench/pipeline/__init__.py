"""What the parts of a running pipeline cost, each measured as users run it."""
