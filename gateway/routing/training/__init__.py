"""Trains and measures the classifier; needs the `train` extra, and is imported by no other part."""
