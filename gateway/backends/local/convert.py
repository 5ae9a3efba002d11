"""Turns a GGUF file into a safetensors folder: `python -m gateway.backends.local.convert IN OUT`.

Loading a GGUF takes half a minute each time, the folder made from it a few seconds. Run as a
process of its own, so that whoever pulls a model never loads torch and gets the memory back. It
prints the name of each step on a line of its own as the step begins; why it failed is the last
line on standard error.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

STEPS = (
    "reading the tokenizer",
    "unpacking the weights",
    "writing safetensors",
)

#: By what Llama 3.1 and 3.2 stretch their position embeddings; all else is the same for both.
_LLAMA3_FACTORS = (8.0, 32.0)
_LLAMA3 = {
    "rope_type": "llama3",
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


class Unconvertible(Exception):
    """transformers reads the file, but would make another model of it."""


def convert(gguf: Path, folder: Path) -> None:
    """Write the model, its tokenizer and its chat template from `gguf` into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    source = {"gguf_file": gguf.name, "local_files_only": True}
    _announce(0)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **source)
    _announce(1)
    network, loading = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, output_loading_info=True, **source
    )
    if missing := sorted(loading["missing_keys"]):
        # It would be random numbers.
        raise Unconvertible(f"{missing[0]} is not in {gguf.name} ({len(missing)} such in all)")
    _read_positions(gguf, network.config)
    # The weights are plain floats by now, but a network that came from a GGUF says otherwise and
    # then refuses to be saved.
    network.hf_quantizer = None
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    _announce(2)
    network.to(_smallest_format(network)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _read_positions(gguf: Path, config: Any) -> None:
    """Add what transformers leaves out: how Llama 3 stretches its position embeddings."""
    import torch
    from gguf import GGUFReader
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    stored = next(
        (one for one in GGUFReader(gguf).tensors if one.name == "rope_freqs.weight"), None
    )
    if stored is None:
        return
    divisors = torch.tensor(stored.data)
    plain = config.rope_parameters
    size = config.head_dim
    unscaled = plain["rope_theta"] ** -(torch.arange(0, size, 2) / size)
    for factor in _LLAMA3_FACTORS:
        config.rope_parameters = {**plain, **_LLAMA3, "factor": factor}
        scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
        if torch.allclose(unscaled / scaled, divisors, rtol=1e-4):
            return
    raise Unconvertible(f"{gguf.name} stretches its position embeddings in a way of its own")


def _smallest_format(network: Any) -> Any:
    """The smallest number format that holds every weight exactly."""
    import torch

    weights = list(network.state_dict().values())
    for small in (torch.bfloat16, torch.float16):
        if all(torch.equal(weight, weight.to(small).to(weight.dtype)) for weight in weights):
            return small
    return torch.float32


def _announce(step: int) -> None:
    print(STEPS[step], flush=True)


if __name__ == "__main__":
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Unconvertible as error:
        sys.exit(str(error))
