"""What the weights of recurrent layers multiply: the inputs, and the states of the step before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

_TYPES: tuple[type[nn.RNNBase], ...] = (nn.LSTM, nn.GRU, nn.RNN)


def recurrent_inputs(
    parameter: str, module: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[Tensor]:
    """Yields `(1, n, d)`: the vectors that a weight multiplies, one for each step and example.

    Input matrices ("weight_ih_l0") multiply what comes in: the sequence, or the states of the layer
    below. Recurrent ones ("weight_hh_l0") multiply the states of the step before. Both are found by
    running the layers up to that one again. Projections of states ("weight_hr_l0") multiply what
    no output shows; nothing is yielded for them.

    Args:
        parameter: the weight's name in the module.
        module: an `nn.LSTM`, `nn.GRU`, `nn.RNN` or one of their cells.
        inputs: its positional arguments.
        kwargs: its keyword arguments.
    """
    x = inputs[0] if inputs else kwargs["input"]
    start = inputs[1] if len(inputs) > 1 else kwargs.get("hx")
    kind = parameter.split("_")[1]
    if kind == "hr":
        return
    if isinstance(module, nn.RNNCellBase):
        if kind == "ih":
            yield x.reshape(1, -1, x.shape[-1])
        elif start is not None:
            state = start[0] if isinstance(start, tuple) else start
            yield state.reshape(1, -1, state.shape[-1])
        return
    if not isinstance(module, nn.RNNBase):
        return
    steps, valid = _steps(x, module.batch_first)
    hidden = start[0] if isinstance(start, tuple) else start
    level, backwards = _place(parameter)
    if kind == "ih":
        seen = steps if level == 0 else _run(module, steps, level, start)
        yield seen[valid].unsqueeze(0)
        return
    states = _run(module, steps, level + 1, start)
    directions = 2 if module.bidirectional else 1
    width = states.shape[2] // directions
    own = states[..., width:] if backwards else states[..., :width]
    first = own.new_zeros(own.shape[1:])
    if hidden is not None:
        first = hidden[level * directions + backwards].reshape(first.shape)
    before = torch.cat([own[1:], first[None]]) if backwards else torch.cat([first[None], own[:-1]])
    yield before[valid].unsqueeze(0)


def _place(parameter: str) -> tuple[int, bool]:
    """Returns the layer of a stack, and whether it runs backwards, from a name."""
    level = parameter.split("_")[2]
    return int(level.removeprefix("l")), parameter.endswith("_reverse")


def _steps(x: Tensor | PackedSequence, batch_first: bool) -> tuple[Tensor, Tensor]:
    """Returns the sequence as `(steps, examples, width)`, and which steps there are."""
    if isinstance(x, PackedSequence):
        padded, lengths = pad_packed_sequence(x)
        there = torch.arange(len(padded))[:, None] < lengths[None]
        return padded, there.to(padded.device)
    if x.dim() == 2:
        x = x.unsqueeze(0 if batch_first else 1)
    steps = x.transpose(0, 1) if batch_first else x
    return steps, torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)


def _run(module: nn.RNNBase, steps: Tensor, levels: int, start: Any) -> Tensor:
    """Returns the states of a stack's layer, `(steps, examples, width)`, from its lowest layers."""
    kind: Any = next(t for t in _TYPES if isinstance(module, t))
    more: dict[str, Any] = {"proj_size": module.proj_size} if module.proj_size else {}
    if kind is nn.RNN:
        more["nonlinearity"] = module.mode.removeprefix("RNN_").lower()
    with torch.device("meta"):
        part = kind(
            module.input_size, module.hidden_size, levels, bias=module.bias,
            bidirectional=module.bidirectional, **more,
        )  # fmt: skip
    for name in part._flat_weights_names:
        setattr(part, name, getattr(module, name))
    used = levels * (2 if module.bidirectional else 1)

    def lowest(state: Tensor) -> Tensor:
        state = state.unsqueeze(1) if state.dim() == 2 else state
        return state[:used].contiguous()

    if isinstance(start, tuple):
        start = tuple(map(lowest, start))
    elif start is not None:
        start = lowest(start)
    states: Tensor = part.eval()(steps, start)[0]
    return states
