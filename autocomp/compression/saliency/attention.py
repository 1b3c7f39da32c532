"""`nn.MultiheadAttention` in the steps that the rules of a propagation know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from autocomp.compression.saliency.propagation import Arguments, Propagation
from autocomp.errors import LayerError

_NAMES = (
    "query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias",
    "bias_k", "bias_v", "add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias",
)  # fmt: skip


def value_of_attention(
    mode: Propagation, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Arguments
) -> tuple[Tensor, None]:
    """The rule of `F.multi_head_attention_forward`: projections and mixing, one after the other.

    Raises:
        LayerError: for masks, extra keys and separate projections.
    """
    given = {**dict(zip(_NAMES, args, strict=False)), **kwargs}
    masked = given.get("attn_mask") is not None or given.get("key_padding_mask") is not None
    packed = given["in_proj_weight"]
    extra = given["bias_k"] is not None or given["add_zero_attn"] or packed is None
    if masked or extra or given.get("use_separate_proj_weight"):
        raise LayerError(
            "Importance and relevance pass through plain nn.MultiheadAttention only, but got a "
            "mask, extra keys or separate projections; use another criterion, such as taylor."
        )
    heads, biases = int(given["num_heads"]), given["in_proj_bias"]
    parts = packed.chunk(3), (None,) * 3 if biases is None else biases.chunk(3)

    def split(x: Tensor) -> Tensor:  # (tokens, n, width) -> (n, heads, tokens, width / heads)
        return x.reshape(*x.shape[:-1], heads, -1).permute(1, 2, 0, 3)

    with mode:
        query, key, value = (
            split(F.linear(x, weight, bias))
            for x, weight, bias in zip(
                (given["query"], given["key"], given["value"]), *parts, strict=True
            )
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        joined = mixed.permute(2, 0, 1, 3).flatten(2)
        return F.linear(joined, given["out_proj_weight"], given["out_proj_bias"]), None
