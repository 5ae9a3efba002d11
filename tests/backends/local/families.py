"""Tiny models of every family's true architecture: random weights, files as the hub has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

#: No token of the vocabularies holds a part of a character, so that text tells tokens apart.
_WORDS = (
    "the small model answers what it can and the large one takes the rest of the questions",
    "a gateway counts every cent that a request costs and says where its answer came from",
    "numbers such as 12, 345 and 6.789 (or none); names like Paris, Berlin and Nairobi!",
    "".join(chr(code) for code in range(32, 127)) + "\n",
)
_VOCABULARY = 320
_SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "torch_dtype": "float32",
}

_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' "
    "+ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] "
    "+ '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST]' + message['content'] + '[/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}"
    "{% endfor %}"
)
_PHI3 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] "
    "+ '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' "
    "else message['role'] %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim "
    "+ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_DANUBE = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% elif message['role'] == 'user' %}"
    "{{ '<|prompt|>' + message['content'].strip() + eos_token }}{% else %}"
    "{{ '<|answer|>' + message['content'].strip() + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|answer|>' }}{% endif %}"
)
_SOLAR = (
    "{% for message in messages %}{{ '### ' + message['role'] | capitalize + ':\n' "
    "+ message['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}"
)
_BITNET = (
    "{% for message in messages %}{{ message['role'] | capitalize + ': ' "
    "+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}"
)


@dataclass(slots=True, frozen=True)
class Family:
    """A family's `config.json` beside the sizes, its tokenizer and its template.

    `special` are its special tokens: how a text begins, how an answer ends, and further ones.
    SentencePiece's texts always begin with the first.
    """

    config: Mapping[str, Any]
    special: Sequence[str]
    template: str | None
    is_sentencepiece: bool = False
    begins_with_bos: bool = False
    embedding_std: float = 0.3
    generation: Mapping[str, Any] = field(default_factory=dict)


_LLAMA3_TOKENS = ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
_LONGROPE_DIMENSIONS = 8  # half a head's

FAMILIES: Mapping[str, Family] = {
    "llama-3": Family(
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
            "tie_word_embeddings": False,
        },
        _LLAMA3_TOKENS,
        _LLAMA3,
        begins_with_bos=True,
        generation={"do_sample": True, "temperature": 0.6, "top_p": 0.9},
    ),
    "smollm2": Family(
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "rope_theta": 100000,
            "hidden_size": 192,
            "num_attention_heads": 6,
            "tie_word_embeddings": True,
        },
        ("<|im_start|>", "<|im_end|>"),
        _CHATML,
    ),
    "mistral-nemo": Family(
        {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "head_dim": 24,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "tie_word_embeddings": False,
        },
        ("<s>", "</s>", "[INST]", "[/INST]"),
        _MISTRAL,
        begins_with_bos=True,
    ),
    "mathstral": Family(
        {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "sliding_window": 32,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": False,
        },
        ("<s>", "</s>", "[INST]", "[/INST]"),
        _MISTRAL,
        is_sentencepiece=True,
    ),
    "mixtral": Family(
        {
            "architectures": ["MixtralForCausalLM"],
            "model_type": "mixtral",
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "tie_word_embeddings": False,
        },
        ("<s>", "</s>", "[INST]", "[/INST]"),
        _MISTRAL,
        is_sentencepiece=True,
    ),
    "qwen2": Family(
        {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "rope_theta": 1000000.0,
            "sliding_window": 32,
            "use_sliding_window": False,
            "max_window_layers": 2,
            "tie_word_embeddings": True,
        },
        ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        _CHATML,
        generation={"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20},
    ),
    "qwen2-moe": Family(
        {
            "architectures": ["Qwen2MoeForCausalLM"],
            "model_type": "qwen2_moe",
            "moe_intermediate_size": 32,
            "shared_expert_intermediate_size": 128,
            "num_experts": 8,
            "num_experts_per_tok": 3,
            "norm_topk_prob": False,
            "decoder_sparse_step": 1,
            "rope_theta": 1000000.0,
            "tie_word_embeddings": False,
        },
        ("<|im_start|>", "<|im_end|>", "<|endoftext|>"),
        _CHATML,
    ),
    "phi-3": Family(
        {
            "architectures": ["Phi3ForCausalLM"],
            "model_type": "phi3",
            "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"},
            "num_key_value_heads": 4,
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "sliding_window": 47,
            "original_max_position_embeddings": 1024,
            "tie_word_embeddings": False,
        },
        ("<s>", "<|end|>", "<|user|>", "<|assistant|>", "<|endoftext|>"),
        _PHI3,
        is_sentencepiece=True,
    ),
    "phi-3-longrope": Family(
        {
            "architectures": ["Phi3ForCausalLM"],
            "model_type": "phi3",
            "auto_map": {"AutoConfig": "configuration_phi3.Phi3Config"},
            "num_key_value_heads": 4,
            "rope_theta": 10000.0,
            "rope_scaling": {
                "type": "longrope",
                "short_factor": [1 + 0.02 * n for n in range(_LONGROPE_DIMENSIONS)],
                "long_factor": [1 + 0.9 * n for n in range(_LONGROPE_DIMENSIONS)],
            },
            "sliding_window": 1024,
            "original_max_position_embeddings": 128,
            "tie_word_embeddings": False,
        },
        ("<s>", "<|end|>", "<|user|>", "<|assistant|>", "<|endoftext|>"),
        _PHI3,
        is_sentencepiece=True,
    ),
    "gemma-2": Family(
        {
            "architectures": ["Gemma2ForCausalLM"],
            "model_type": "gemma2",
            "head_dim": 24,
            "num_hidden_layers": 4,
            "hidden_activation": "gelu_pytorch_tanh",
            "query_pre_attn_scalar": 20,
            "attn_logit_softcapping": 1.0,
            "final_logit_softcapping": 3.0,
            "sliding_window": 32,
            "rope_theta": 10000.0,
            "rms_norm_eps": 1e-6,
            "tie_word_embeddings": True,
        },
        ("<bos>", "<end_of_turn>", "<start_of_turn>", "<eos>"),
        _GEMMA,
        embedding_std=0.05,  # it is multiplied by the square root of the hidden size
        is_sentencepiece=True,
    ),
    "h2o-danube3": Family(
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "head_dim": 16,
            "rope_theta": 100000,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        },
        ("<s>", "</s>", "<|prompt|>", "<|answer|>"),
        _DANUBE,
        is_sentencepiece=True,
    ),
    "solar": Family(
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "num_hidden_layers": 5,  # deeper than it is wide: two copies of a model's layers
            "rope_theta": 10000.0,
            "rope_scaling": None,
            "tie_word_embeddings": False,
        },
        ("<s>", "</s>"),
        _SOLAR,
        is_sentencepiece=True,
    ),
    "gpt-2": Family(
        {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "activation_function": "gelu_new",
            "n_embd": 64,
            "n_head": 4,
            "n_layer": 3,
            "n_positions": 512,
            "n_ctx": 512,
            "layer_norm_epsilon": 1e-5,
        },
        ("<|endoftext|>", "<|endoftext|>"),
        None,
    ),
    "bitnet-b1.58": Family(
        {
            "architectures": ["BitNetForCausalLM"],
            "model_type": "bitnet",
            "auto_map": {"AutoConfig": "configuration_bitnet.BitNetConfig"},
            "hidden_act": "relu2",
            "rope_theta": 500000.0,
            "tie_word_embeddings": True,
            "quantization_config": {
                "quant_method": "bitnet",
                "linear_class": "autobitlinear",
                "quantization_mode": "offline",
                "modules_to_not_convert": ["lm_head"],
            },
        },
        ("<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>"),
        _BITNET,
        begins_with_bos=True,
    ),
}


def make_model(name: str, folder: Path) -> Path:
    """Write a model of a family into `folder`, the same one each time; the folder."""
    family = FAMILIES[name]
    folder.mkdir(parents=True)
    tokenizer = _tokenizer(family)
    _write_tokenizer(family, tokenizer, folder)
    bos, eos = (tokenizer.token_to_id(token) for token in family.special[:2])
    sizes = {} if family.config["model_type"] == "gpt2" else _SIZES
    tokens = {
        **{"vocab_size": _VOCABULARY, "bos_token_id": bos, "eos_token_id": eos},
        **({"pad_token_id": eos} if "phi" in name else {}),
    }
    config = {**sizes, **tokens, **family.config}
    (folder / "config.json").write_text(json.dumps(config))
    _write_weights(family, folder)
    # Written last, for saving weights writes both in today's words; the hub's are older.
    (folder / "config.json").write_text(json.dumps(config))
    ends = {"bos_token_id": bos, "eos_token_id": [eos]}
    (folder / "generation_config.json").write_text(json.dumps({**ends, **family.generation}))
    return folder


def _tokenizer(family: Family) -> Tokenizer:
    """A byte-level or SentencePiece-like BPE of `_VOCABULARY` tokens, in printable ASCII."""
    tokenizer = Tokenizer(BPE())
    if family.is_sentencepiece:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        )
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    special = list(dict.fromkeys(family.special))
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY, special_tokens=special, min_frequency=1, show_progress=False
    )
    tokenizer.train_from_iterator(_WORDS, trainer)
    if family.begins_with_bos or family.is_sentencepiece:
        bos = special[0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return tokenizer


def _write_tokenizer(family: Family, tokenizer: Tokenizer, folder: Path) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": family.special[0],
        "eos_token": family.special[1],
        **({"chat_template": family.template} if family.template is not None else {}),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def _write_weights(family: Family, folder: Path) -> None:
    """Weights that make every part count: sharp attention, biases and scales that differ."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    is_bitnet = config.model_type == "bitnet"
    if is_bitnet:
        del config.quantization_config
    network = AutoModelForCausalLM.from_config(config)
    random = torch.Generator().manual_seed(7)
    std = 1.6 * config.hidden_size**-0.5
    with torch.no_grad():
        for name, weight in network.named_parameters():
            noise = torch.randn(weight.shape, generator=random)
            if weight.ndim == 1:
                weight.add_(noise * 0.2)
            elif "embed" in name or "wte" in name:
                weight.copy_(noise * family.embedding_std)
            else:
                weight.copy_(noise * std)
    if not is_bitnet:
        disable_progress_bar()
        network.save_pretrained(folder)
        return
    from safetensors.torch import save_file

    state = {
        name: weight for name, weight in network.state_dict().items() if name != "lm_head.weight"
    }
    save_file(_ternary(state), folder / "model.safetensors", metadata={"format": "pt"})


def _ternary(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """BitNet's own way to store weights: -1, 0 and 1 in two bits each, and a scale."""
    stored = {}
    for name, weight in state.items():
        if not name.endswith("proj.weight"):
            stored[name] = weight.contiguous()
            continue
        scale = weight.abs().mean()
        ternary = (weight / scale).round().clamp(-1, 1).add(1).to(torch.uint8)
        quarters = ternary.chunk(4)
        stored[name] = sum(rows << 2 * n for n, rows in enumerate(quarters))
        stored[f"{name}_scale"] = scale.reshape(1)
    return stored
