"""Self-attention whose heads can be taken out one by one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autocomp.core.structured import Inputs
from autocomp.errors import LayerError
from autocomp.network.forward import forward
from autocomp.network.modes import evaluation_mode

_TOLERANCE = 1e-3
"""Largest difference that a replacement may make, as a share of the outputs' size."""


class HeadAttention(nn.Module):
    """What `nn.MultiheadAttention` computes in evaluation mode, with any number of heads.

    The projections are plain linear layers, so that they are pruned, quantized and exported like
    others, and the width inside, `heads * head_width`, need not be the width of a token. Only for
    self-attention: query, key and value are the same tensor.

    Args:
        width: width of a token.
        heads: how many heads are left.
        head_width: width of one head.
        bias: whether the projections have one.
        batch_first: whether inputs are `(n, tokens, width)` rather than `(tokens, n, width)`.
    """

    def __init__(
        self, width: int, heads: int, head_width: int, bias: bool, batch_first: bool
    ) -> None:
        super().__init__()
        self.heads, self.head_width, self.batch_first = heads, head_width, batch_first
        self.in_proj = nn.Linear(width, 3 * heads * head_width, bias=bias)
        self.out_proj = nn.Linear(heads * head_width, width, bias=bias)

    @classmethod
    def of(cls, attention: nn.MultiheadAttention) -> HeadAttention | None:
        """Returns the same computation with the same weights; None if there is none.

        Separate projections of keys and values, and extra tokens of bias or zeros, have none.
        """
        packed = attention.in_proj_weight
        extra = attention.bias_k is not None or attention.add_zero_attn
        if packed is None or extra or type(attention) is not nn.MultiheadAttention:
            return None
        biased = attention.in_proj_bias is not None
        made = cls(
            attention.embed_dim, attention.num_heads, attention.head_dim, biased,
            attention.batch_first,
        ).to(packed.device, packed.dtype)  # fmt: skip
        made.in_proj.weight.data.copy_(packed.data)
        made.out_proj.weight.data.copy_(attention.out_proj.weight.data)
        if biased:
            made.in_proj.bias.data.copy_(attention.in_proj_bias.data)
            made.out_proj.bias.data.copy_(attention.out_proj.bias.data)
        return made.train(attention.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, None]:
        """Returns (outputs, None); masks are not supported, and weights are not returned.

        Raises:
            NotImplementedError: for anything but self-attention without masks.
        """
        for other in (key, value):
            if other is not None and other is not query:
                raise NotImplementedError("query, key and value must be the same tensor")
        if key_padding_mask is not None or attn_mask is not None or is_causal:
            raise NotImplementedError("masks are not supported")
        tokens = query if self.batch_first else query.transpose(0, 1)
        n, length, _ = tokens.shape
        packed = self.in_proj(tokens).reshape(n, length, 3, self.heads, self.head_width)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        joined = mixed.transpose(1, 2).reshape(n, length, self.heads * self.head_width)
        out: Tensor = self.out_proj(joined)
        return (out if self.batch_first else out.transpose(0, 1)), None


@torch.no_grad()
def with_heads(model: nn.Module, example: Inputs | None = None) -> list[str]:
    """Replaces, in place, every attention that can be by a `HeadAttention`; returns their names.

    Args:
        model: the network.
        example: a batch of its inputs; attention that is used in a way which a `HeadAttention`
            refuses (other keys, masks, weights that are read) then stays as it is.
    """
    wanted = None if example is None else _outputs(model, example)
    replaced = []
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.MultiheadAttention):
            made = None if is_hooked(module) else HeadAttention.of(module)
            if made is not None and name:
                parent, _, attribute = name.rpartition(".")
                setattr(model.get_submodule(parent), attribute, made)
                if wanted is None or _is_near(_outputs(model, example), wanted):
                    replaced.append(name)
                else:
                    setattr(model.get_submodule(parent), attribute, module)
    return replaced


def is_hooked(module: nn.Module) -> bool:
    """Whether something hangs on a module's calls, which another module would not have."""
    return bool(module._forward_hooks or module._forward_pre_hooks) or "forward" in vars(module)


def _outputs(model: nn.Module, example: Inputs | None) -> Tensor | None:
    """Returns the outputs in evaluation mode; None if the network does not run."""
    with evaluation_mode(model):
        try:
            found = forward(model, example)
        except LayerError:
            return None
    return found if isinstance(found, Tensor) else None


def _is_near(found: Tensor | None, wanted: Tensor) -> bool:
    if found is None or found.shape != wanted.shape:
        return False
    return float((found - wanted).abs().max()) <= _TOLERANCE * float(wanted.abs().max())
