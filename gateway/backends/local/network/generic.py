"""Any other family, by transformers' own forward pass: one sequence after another."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.cache_utils import DynamicCache, DynamicLayer
from transformers.utils import logging as transformers_logging

from gateway.backends.local.adapters import AdapterMisfit
from gateway.backends.local.folder import read_json
from gateway.backends.local.network.interface import Part
from gateway.backends.local.network.low_rank import Matrices
from gateway.backends.local.network.rounding import rounded


class TransformersMemory:
    """A cache of transformers', and how many tokens are in it."""

    def __init__(self, config: Any, adapter: str | None = None) -> None:
        self._config = config
        self.cache = DynamicCache(config=config)
        self.length = 0
        self.adapter = adapter
        #: Tokens that were read in a batch that another sequence then failed, and their logits.
        self.unclaimed: tuple[list[int], torch.Tensor] | None = None
        self._failure: BaseException | None = None

    def take(self, other: TransformersMemory, length: int) -> bool:
        """Copy the first tokens of another; not where a layer forgets or keeps something else."""
        if any(type(layer) is not DynamicLayer for layer in other.cache.layers):
            return False
        for number, layer in enumerate(other.cache.layers):
            keys, values = layer.keys[..., :length, :], layer.values[..., :length, :]
            self.cache.update(keys.clone(), values.clone(), number)
        self.length = length
        return True

    def kept(self, length: int) -> TransformersMemory | None:
        """A copy of the first tokens; None where they can't be copied."""
        copy = TransformersMemory(self._config)
        return copy if copy.take(self, length) else None

    def release(self) -> None:
        """Nothing is held but by this object."""

    def failed(self, error: BaseException) -> None:
        """Forget what a pass that failed has left; what can't be cut off is never read again."""
        if all(type(layer) is DynamicLayer for layer in self.cache.layers):
            for layer in self.cache.layers:
                layer.crop(min(0, self.length - layer.get_seq_length()))
        else:
            self._failure = error

    def check(self) -> None:
        """Raise what once failed here and left a part of itself."""
        if self._failure is not None:
            raise self._failure


class TransformersNetwork:
    """A `Network` around a model of transformers'."""

    def __init__(self, model: Any) -> None:
        self.model = model
        #: The adapter of the sequence that is being read.
        self._active: str | None = None
        config = model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        itemsize = model.dtype.itemsize
        self.bytes_per_token: int = 2 * config.num_hidden_layers * heads * size * itemsize

    @classmethod
    def of_folder(
        cls, folder: Path, dtype: torch.dtype | None, source: Mapping[str, Any]
    ) -> TransformersNetwork:
        """Load a folder, linear layers rounded to int8 for `dtype` None. No code of it is run."""
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        numbers = torch.bfloat16 if dtype is None else dtype
        with plain_steps(read_json(folder / "config.json")):
            model = AutoModelForCausalLM.from_pretrained(
                folder, dtype=numbers, local_files_only=True, **source
            ).eval()
        return cls(rounded(model) if dtype is None else model)

    def adapter(self, name: str, matrices: Mapping[str, Matrices]) -> str:
        """A LoRA adapter that memories may be made for. Raises AdapterMisfit."""
        for layer, (down, up) in matrices.items():
            try:
                module = self.model.get_submodule(layer)
            except AttributeError as error:
                raise AdapterMisfit(f"{layer} is no layer of its own in this network") from error
            module.register_forward_hook(self._change(name, down, up))
        return name

    def _change(self, name: str, down: torch.Tensor, up: torch.Tensor) -> Callable[..., Any]:
        def add(layer: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> Any:
            if self._active != name:
                return None
            return output + (inputs[0].float() @ down.T @ up.T).to(output.dtype)

        return add

    def open(self, sequences: int, tokens: int) -> None:
        """Nothing to prepare: memories grow as they are filled."""

    def memory(self, adapter: str | None = None) -> TransformersMemory:
        """An empty memory; it grows as it is filled."""
        return TransformersMemory(self.model.config, adapter)

    def read(self, parts: Sequence[Part]) -> torch.Tensor:
        """Read parts of prompts; float32 logits, a row for each part that wants them."""
        found = self._all([(part.memory, part.tokens) for part in parts])
        wanted = [logits for part, logits in zip(parts, found, strict=True) if part.wants_logits]
        return torch.stack(wanted) if wanted else torch.empty(0)

    def step(self, memories: Sequence[TransformersMemory], tokens: Sequence[int]) -> torch.Tensor:
        """Read one token of each sequence; float32 logits, shape (sequences, vocabulary)."""
        return torch.stack(self._all([*zip(memories, ([token] for token in tokens), strict=True)]))

    def _all(self, asked: Sequence[tuple[TransformersMemory, list[int]]]) -> list[torch.Tensor]:
        """The logits of all, or a failure after which each may be asked for again by itself."""
        found = [self._once(memory, tokens) for memory, tokens in asked]
        for memory, _ in asked:
            memory.unclaimed = None
        return found

    def _once(self, memory: TransformersMemory, tokens: list[int]) -> torch.Tensor:
        if memory.unclaimed is None or memory.unclaimed[0] != tokens:
            memory.unclaimed = tokens, self._read(memory, tokens)
        return memory.unclaimed[1]

    def _read(self, memory: TransformersMemory, tokens: list[int]) -> torch.Tensor:
        memory.check()
        self._active = memory.adapter
        try:
            output = self.model(
                input_ids=torch.tensor([tokens]),
                cache=memory.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        except BaseException as error:
            memory.failed(error)
            raise
        memory.length += len(tokens)
        logits: torch.Tensor = output.logits[0, -1].float()
        return logits


@contextmanager
def plain_steps(config: Mapping[str, Any]) -> Iterator[None]:
    """Keep transformers from compiling how BitNet's weights are unpacked.

    That takes 17 seconds, and a C++ compiler, which not every machine has.
    """
    if config.get("model_type") != "bitnet":
        yield
        return
    with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"):
        warnings.simplefilter("ignore")  # torch, on its own parts, as the compiler is imported
        yield
