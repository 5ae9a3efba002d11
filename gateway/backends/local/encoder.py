"""A sentence encoder: texts to vectors, pooled and normalised as sentence-transformers does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import torch
from tokenizers import Tokenizer
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from gateway.backends.local.folder import context_window_of, read_json
from gateway.backends.local.loadable import check_folder
from gateway.backends.local.network.rounding import rounded
from gateway.backends.local.tokens import pieces_of
from gateway.core.errors import ContextTooLong

#: What weights are loaded as; int8 ones are rounded afterwards.
_NUMBERS = {"auto": torch.float32, "float32": torch.float32}

#: Texts up to so many characters are tokenised whole, however many tokens they turn out to be.
_SHORT = 16_384

#: What sentence-transformers may do after the network; further steps would change the vectors.
_KNOWN_STEPS = frozenset({"Transformer", "Pooling", "Normalize"})


@dataclass(slots=True, frozen=True)
class Encoder:
    """A network, its tokenizer and how its tokens' vectors become one.

    `most_tokens` is how long a text may be, the tokens around it included.
    """

    network: Any
    tokenizer: Tokenizer
    most_tokens: int
    takes_mean: bool = True
    padding: int = 0

    @classmethod
    def of_folder(cls, folder: Path, dtype: str = "auto") -> Encoder:
        """Load a folder; no code of the model's is run. Raises ValueError where it can't."""
        check_folder(folder)
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        takes_mean = _takes_mean(folder)
        network = AutoModel.from_pretrained(
            folder, dtype=_NUMBERS.get(dtype, torch.bfloat16), local_files_only=True
        ).eval()
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(
            network=rounded(network) if dtype == "int8" else network,
            tokenizer=tokenizer,
            most_tokens=_most_tokens(network.config.to_dict(), folder),
            takes_mean=takes_mean,
            padding=network.config.pad_token_id or 0,
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's token ids. Raises ContextTooLong naming the first that is too long."""
        for index, text in enumerate(texts):
            if len(text) > _SHORT and self._is_surely_too_long(text):
                raise self._too_long(index, f"more than {self.most_tokens}")
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=True)
        found: list[list[int]] = [one.ids for one in encoded]
        for index, ids in enumerate(found):
            if len(ids) > self.most_tokens:
                raise self._too_long(index, str(len(ids)))
        return found

    def embed(self, batch: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """The unit vectors of tokenised texts, a row each."""
        longest = max(map(len, batch))
        padded = [[*ids, *([self.padding] * (longest - len(ids)))] for ids in batch]
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in batch])
        with torch.inference_mode():
            states = self.network(input_ids=torch.tensor(padded), attention_mask=mask)[0].float()
            if self.takes_mean:
                weights = mask.unsqueeze(-1).float()
                pooled = (states * weights).sum(1) / weights.sum(1)
            else:
                pooled = states[:, 0]
            vectors = torch.nn.functional.normalize(pooled, dim=-1)
        found: npt.NDArray[np.float32] = vectors.numpy()
        return found

    def _is_surely_too_long(self, text: str) -> bool:
        """Whether a long text's tokens, counted piece by piece, exceed the limit."""
        count = torn = 0
        for piece, most_torn in pieces_of(text):
            count += len(self.tokenizer.encode(piece, add_special_tokens=False).ids)
            torn += most_torn
            if count - torn > self.most_tokens:
                return True
        return False

    def _too_long(self, index: int, tokens: str) -> ContextTooLong:
        return ContextTooLong(
            f"The text at index {index} of 'input' takes {tokens} tokens; "
            f"the model reads at most {self.most_tokens}.",
            param="input",
        )


def _takes_mean(folder: Path) -> bool:
    """Whether a text's vector is the mean of its tokens'; else it is the first one's."""
    steps = folder / "modules.json"
    if steps.is_file():
        kinds = {str(step["type"]).rpartition(".")[2] for step in orjson.loads(steps.read_bytes())}
        if unknown := kinds - _KNOWN_STEPS:
            raise ValueError(f"modules.json names a step that isn't served: {min(unknown)}")
    stated = read_json(folder / "1_Pooling" / "config.json")
    modes = {name for name, value in stated.items() if name.startswith("pooling_mode_") and value}
    if modes <= {"pooling_mode_mean_tokens"}:
        return True
    if modes == {"pooling_mode_cls_token"}:
        return False
    raise ValueError(f"1_Pooling/config.json asks for {', '.join(sorted(modes))}")


def _most_tokens(config: Mapping[str, Any], folder: Path) -> int:
    """What the position embeddings allow, and the tokenizer's own configuration."""
    stated = read_json(folder / "tokenizer_config.json").get("model_max_length")
    known = [context_window_of(config), stated if isinstance(stated, int) else None]
    return min((limit for limit in known if limit), default=512)
