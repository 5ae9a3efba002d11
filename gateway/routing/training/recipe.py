"""The recipe: data in, the classifier's file out; the same bytes for the same data and seed."""
