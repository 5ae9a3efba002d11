"""Which deployment answers: features, difficulty score, capability filter, policy, decision."""
