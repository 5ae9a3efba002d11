"""The networks that the engine runs: tokens and what was read before in, logits out."""
