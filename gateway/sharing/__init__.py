"""What processes tell each other through Redis: which deployments rest, and who answered whom."""
