"""Models of transformers by the type that their configurations have; nothing is downloaded."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from sparsebench.errors import InputError

# Heads, in the order in which the first that a type has is taken: what it is pretrained for.
_HEADS = (
    "AutoModelForPreTraining",
    "AutoModelForSeq2SeqLM",
    "AutoModelForSpeechSeq2Seq",
    "AutoModelForCausalLM",
    "AutoModelForMaskedLM",
    "AutoModelForImageClassification",
    "AutoModel",
)
_TOKENS = 128  # of a sequence, where nobody says


def build(kind: str, config: dict[str, Any]) -> nn.Module:
    """Return a model of the type `kind`, such as bert, `config` over its default configuration.

    Raises InputError where transformers is missing, for a type that it does not have and for a
    name that the configuration does not have.
    """
    try:
        import transformers
    except ImportError:
        raise InputError(
            f"transformers:{kind}: transformers is needed; install with: pip install transformers"
        ) from None
    if kind not in transformers.CONFIG_MAPPING:
        near = [name for name in transformers.CONFIG_MAPPING if name[:3] == kind[:3]]
        raise InputError(
            f"transformers has no model type {kind!r}; it has {', '.join(near) or 'none like it'}"
        )
    made = transformers.AutoConfig.for_model(kind)
    unknown = [name for name in config if not hasattr(made, name)]
    if unknown:
        raise InputError(f"transformers:{kind}: its configuration has no {unknown[0]!r}")
    made = transformers.AutoConfig.for_model(kind, **{"use_cache": False} | config)
    for head in _HEADS:
        auto = getattr(transformers, head, None)
        if auto is not None and type(made) in auto._model_mapping:
            model: nn.Module = auto.from_config(made)
            return model
    raise InputError(f"transformers:{kind}: no head of {', '.join(_HEADS)} fits it")


def example(model: Any, shape: tuple[int, ...], batch: int) -> dict[str, torch.Tensor]:
    """Return keyword arguments that the model takes: tokens, images or sounds of `shape`.

    Tokens are (batch, length), images (batch, channels, height, width), spectra (batch, bands,
    frames). What decodes beside it gets as many tokens as a sequence of tokens has, or 16.

    Raises InputError for another kind of input.
    """
    config, name = model.config, model.main_input_name
    if name == "input_ids":
        given = torch.randint(_vocabulary(config), shape or (batch, _TOKENS))
    elif name == "pixel_values":
        size = getattr(config, "image_size", 224)
        height, width = size if isinstance(size, (list, tuple)) else (size, size)
        given = torch.randn(shape or (batch, getattr(config, "num_channels", 3), height, width))
    elif name == "input_features":
        frames = 2 * config.max_source_positions
        given = torch.randn(shape or (batch, config.num_mel_bins, frames))
    else:
        raise InputError(f"{type(model).__name__} takes {name}: there is no example of that here")
    arguments = {name: given}
    if getattr(config, "is_encoder_decoder", False):
        length = given.shape[1] if name == "input_ids" else 16
        tokens = torch.randint(_vocabulary(config), (given.shape[0], length))
        arguments["decoder_input_ids"] = tokens
    return arguments


def _vocabulary(config: Any) -> int:
    return int(config.vocab_size)
