"""Turns a GGUF file into a safetensors folder: `python -m gateway.backends.local.convert IN OUT`.

Loading a GGUF takes half a minute each time, the folder made from it a few seconds. Run as a
process of its own, so that whoever pulls a model never loads torch and gets the memory back. It
prints the name of each step on a line of its own as the step begins.
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
    network = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **source)
    # The weights are plain floats by now, but a network that came from a GGUF says otherwise and
    # then refuses to be saved.
    network.hf_quantizer = None
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    _announce(2)
    network.to(_smallest_format(network)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


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
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
