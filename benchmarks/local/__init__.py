"""The local engine beside its peers, on the same weights: `python -m benchmarks.local`."""
