"""The documentation is true: its code runs, its commands, paths and links exist."""
