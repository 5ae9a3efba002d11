"""How sure a model was of an answer, as far as its own probabilities say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Certainty:
    """Natural logprobs of an answer's tokens, the one that ends it too: their mean and the least.
    Of the first token the entropy (nats), and by how much the likeliest was likelier than the next
    (0..1).

    All are the model's own, before temperature, penalties and grammars. Of several answers to one
    prompt it is that of all their tokens; their first tokens come from the same probabilities.
    """

    mean_logprob: float
    min_logprob: float
    first_token_entropy: float
    first_token_margin: float
