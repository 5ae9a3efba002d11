"""Money: what a call costs, the ledger that keeps it, and the questions asked of the ledger."""
