"""One layer's record in the file: what was done to it, models and scales; codes go elsewhere."""

from __future__ import annotations

import struct

import constriction
import numpy as np
import torch
from torch import Tensor

from autocomp.artifacts.codes import CodedTensor
from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.artifacts.tensors import read_raw, write_raw
from autocomp.compressors.activation import ActivationQuantizer
from autocomp.compressors.base import Quantized
from autocomp.plan import Choice

DENSE, SPARSE, QUANTIZED = range(3)
_RECORD = struct.Struct("<BBBBHB")
_ACTIVATION = struct.Struct("<fH")


def weight_bits(weight: Quantized | Tensor, choice: Choice) -> float:
    """Bits that a layer adds to a file beyond its record's fixed part: codes, models, scales."""
    if isinstance(weight, Quantized):
        activation = _ACTIVATION.size * 8 if choice.activation_bits < 32 else 0
        coded = CodedTensor.of(weight.codes.numpy())
        return coded.bits + weight.scale.numel() * 16 + 8 + activation
    activation = _ACTIVATION.size * 8 if choice.activation_bits < 32 else 0
    if choice.sparsity or choice.pattern:
        mask = CodedTensor.of((weight != 0).numpy().astype(np.int32))
        nonzeros = int(torch.count_nonzero(weight))
        return mask.bits + 32 + nonzeros * weight.element_size() * 8 + activation
    return weight.numel() * weight.element_size() * 8 + activation


def write_record(
    model: PackedModel, layer: LayerEntry, coder: constriction.stream.queue.RangeEncoder
) -> bytes:
    """Returns a layer's record and appends its codes to the range-coded stream."""
    choice = model.plan[layer.name]
    weight = model.weights[layer.parameter]
    n, m = choice.n_of_m
    sparse = bool(choice.sparsity or choice.pattern)
    form = QUANTIZED if isinstance(weight, Quantized) else SPARSE if sparse else DENSE
    out = [
        _RECORD.pack(
            choice.weight_bits, choice.activation_bits, n, m, round(choice.sparsity * 10000), form
        )
    ]
    if choice.activation_bits < 32:
        quantizer = model.activations[layer.name]
        out.append(_ACTIVATION.pack(quantizer.step, -quantizer.lower))
    if isinstance(weight, Quantized):
        out.append(bytes([_scale_axis(weight)]))
        out.append(weight.scale.reshape(-1).to(torch.bfloat16).view(torch.int16).numpy().tobytes())
        coded = CodedTensor.of(weight.codes.numpy())
    elif sparse:
        coded = CodedTensor.of((weight != 0).numpy().astype(np.int32))
    else:
        return b"".join([*out, write_raw(weight, 32)])
    out.append(coded.header)
    for stream in coded.streams:
        stream.model.encode(stream.symbols, coder)
    if isinstance(weight, Tensor):
        values = weight[weight != 0]
        out += [struct.pack("<I", values.numel()), write_raw(values, 32)]
    return b"".join(out)


def _scale_axis(weight: Quantized) -> int:
    """The axis that has one scale an index, or 255 when one scale serves all."""
    wide = [axis for axis, size in enumerate(weight.scale.shape) if size > 1]
    return wide[0] if wide else 255


class Record:
    """A layer whose record is read and whose codes are still in the range-coded stream."""

    def __init__(
        self, name: str, parameter: str, shape: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        self.name, self.parameter, self.shape, self.dtype = name, parameter, shape, dtype
        self.count = int(np.prod(shape, dtype=np.int64))
        self.choice = Choice()
        self.activation: ActivationQuantizer | None = None
        self._plain: Tensor | None = None
        self._scale = torch.ones(1)

    def read(self, at: memoryview) -> memoryview:
        """Reads the record from the head of `at`; returns what follows."""
        bits, activation_bits, n, m, sparsity, self.form = _RECORD.unpack_from(at)
        at = at[_RECORD.size :]
        pattern = f"{n}:{m}" if m > 1 else ""
        self.choice = Choice(sparsity / 10000, pattern, bits, activation_bits)
        if activation_bits < 32:
            step, lower = _ACTIVATION.unpack_from(at)
            self.activation = ActivationQuantizer(activation_bits, step, -lower)
            at = at[_ACTIVATION.size :]
        if self.form == DENSE:
            self._plain, at = read_raw(at, self.shape, self.dtype, 32)
            return at
        if self.form == QUANTIZED:
            axis, at = at[0], at[1:]
            shape = [1] * len(self.shape)
            if axis != 255:
                shape[axis] = self.shape[axis]
            size = 2 * int(np.prod(shape))
            stored = torch.frombuffer(bytearray(at[:size]), dtype=torch.bfloat16)
            self._scale, at = stored.to(torch.float32).reshape(shape), at[size:]
        self._wide, self._models, at = CodedTensor.read_models(at)
        if self.form == SPARSE:
            count, at = struct.unpack_from("<I", at)[0], at[4:]
            self._plain, at = read_raw(at, (count,), self.dtype, 32)
        return at

    def decode(self, coder: constriction.stream.queue.RangeDecoder) -> Quantized | Tensor:
        """Returns the weight, taking its codes from the stream; call in the records' order."""
        if self.form == DENSE and self._plain is not None:
            return self._plain
        codes = CodedTensor.join(
            self._wide, self._models, self.count, lambda model, n: model.decode(n, coder)
        ).reshape(self.shape)
        if self.form == SPARSE and self._plain is not None:
            weight = torch.zeros(self.shape, dtype=self.dtype)
            weight[torch.from_numpy(codes != 0)] = self._plain
            return weight
        small = int(np.abs(codes).max(initial=0)) < 128
        tensor = torch.from_numpy(codes)
        return Quantized(tensor.to(torch.int8) if small else tensor, self._scale)
