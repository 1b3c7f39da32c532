"""One layer's record in the file: what was done to it, and symbol models; codes go elsewhere.

u8          bits of a weight, then of an input: their places in `_WIDTHS`, 4 bits each; in place
            of the second, 15 says that outputs are rounded and that a byte follows, at the end of
            this part: bits of an output, then of an input
u8          form (2 bits), zeros (2), how scales are stored (1), axis of the scales (3)
u16, or 2   sparsity in 1/10,000, or N and M of the pattern; only with such zeros
f32, u16    step and lowest code of the inputs; only with fewer than 32 bits
outputs     only where rounded: u8 their number, then each one's f32, u16 as above, and its module's
            name: u8 characters that it begins with like the layer's host, u8 bytes that follow, and
            those in UTF-8
scales      bfloat16, or the symbol models of their grid numbers
codes       the symbol models of the codes, or of the mask of what is not zero
values      the weights in floating point, or how many are not zero and those
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autocomp.artifacts.codes import CodedTensor
from autocomp.artifacts.index import Described
from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.artifacts.scales import scale_codes, scale_from_codes
from autocomp.artifacts.symbols import SymbolModel
from autocomp.artifacts.tensors import read_raw, write_raw
from autocomp.artifacts.varints import fold, read_varints, unfold, write_varints
from autocomp.core.activation_quantizer import ActivationQuantizer
from autocomp.core.choice import Choice
from autocomp.core.layer_spec import LayerSpec
from autocomp.core.output_quantizer import OutputQuantizer
from autocomp.core.quantized import Quantized
from autocomp.errors import ArtifactError

DENSE, SPARSE, QUANTIZED = range(3)
NO_ZEROS, SPARSITY, PATTERN = range(3)
_ACTIVATION = struct.Struct("<fH")
_NO_AXIS = 7
_OUTPUTS = 15
"""In place of the bits of inputs: a byte with those of outputs, too, follows."""

_WIDTHS = (2, 3, 4, 5, 6, 7, 8, 16, 32, 1)
"""Bit-widths by their numbers in a file; new ones come last."""


def weight_bits(weight: Quantized | Tensor, choice: Choice) -> float:
    """Bits that a layer adds to a file beyond the two bytes of any: codes, models, scales.

    Without the ranges of its inputs and outputs, see `range_bits`.
    """
    bits = 16.0 if choice.weights.sparsity or choice.weights.pattern else 0.0
    if isinstance(weight, Quantized):
        scale = _coded_scale(weight)
        bits += weight.scale.numel() * 16 if scale is None else scale[1].bits + 8 * len(scale[0])
        return bits + CodedTensor.of(weight.codes.numpy()).bits
    if choice.weights.sparsity or choice.weights.pattern:
        mask = CodedTensor.of((weight != 0).numpy().astype(np.int32))
        nonzeros = int(torch.count_nonzero(weight))
        return bits + mask.bits + 32 + nonzeros * weight.element_size() * 8
    return bits + weight.numel() * weight.element_size() * 8


def range_bits(layer: LayerSpec, choice: Choice) -> int:
    """Bits that a file takes for the ranges of a layer's inputs and outputs, at most."""
    size = _ACTIVATION.size if choice.activations.bits < 32 else 0
    if choice.activations.output_bits < 32:
        names = (_name(site.module, layer.host) for site in layer.output_sites)
        size += 2 + sum(_ACTIVATION.size + len(name) for name in names)
    return size * 8


def _name(module: str, host: str) -> bytes:
    """Returns a module's name as its difference from another one's."""
    same = len(os.path.commonprefix([module[:255], host]))
    rest = module[same:].encode()
    if len(rest) > 255:
        raise ArtifactError(
            f"A module's name must fit into a file, but {module[:40]!r}... has {len(rest)} bytes "
            "more than 255; leave output_bits of its layer at 32."
        )
    return bytes([same, len(rest)]) + rest


def _write_outputs(outputs: Sequence[OutputQuantizer], host: str) -> bytes:
    parts = [bytes([len(outputs)])]
    for output in outputs:
        parts.append(_ACTIVATION.pack(output.quantizer.step, -output.quantizer.lower))
        parts.append(_name(output.module, host))
    return b"".join(parts)


def write_record(
    model: PackedModel, layer: LayerEntry, coder: constriction.stream.queue.RangeEncoder
) -> bytes:
    """Returns a layer's record and appends its codes to the range-coded stream."""
    choice = model.plan[layer.name]
    weight = model.weights[layer.parameter]
    zeros = PATTERN if choice.weights.pattern else SPARSITY if choice.weights.sparsity else NO_ZEROS
    form = QUANTIZED if isinstance(weight, Quantized) else SPARSE if zeros else DENSE
    scale = _coded_scale(weight) if isinstance(weight, Quantized) else None
    axis = _scale_axis(weight, layer.name) if isinstance(weight, Quantized) else 0
    flags = form | zeros << 2 | (scale is not None) << 4 | axis << 5
    rounds = choice.activations.output_bits < 32
    inputs = _WIDTHS.index(choice.activations.bits)
    out = [
        bytes([_WIDTHS.index(choice.weights.bits) << 4 | (_OUTPUTS if rounds else inputs), flags])
    ]
    if rounds:
        out.append(bytes([_WIDTHS.index(choice.activations.output_bits) << 4 | inputs]))
    if zeros:
        sparsity = struct.pack("<H", round(choice.weights.sparsity * 10000))
        out.append(bytes(choice.weights.n_of_m) if choice.weights.pattern else sparsity)
    if choice.activations.bits < 32:
        quantizer = model.activations[layer.name]
        out.append(_ACTIVATION.pack(quantizer.step, -quantizer.lower))
    if rounds:
        out.append(_write_outputs(model.outputs[layer.name], layer.host))
    if isinstance(weight, Quantized):
        if scale is None:
            out.append(write_raw(weight.scale.to(torch.bfloat16), 32))
        else:
            out += [scale[0], _write(scale[1], coder)]
        out.append(_write(CodedTensor.of(weight.codes.numpy()), coder))
    elif form == SPARSE:
        out.append(_write(CodedTensor.of((weight != 0).numpy().astype(np.int32)), coder))
        values = weight[weight != 0]
        out += [struct.pack("<I", values.numel()), write_raw(values, 32)]
    else:
        out.append(write_raw(weight, 32))
    return b"".join(out)


def _write(coded: CodedTensor, coder: constriction.stream.queue.RangeEncoder) -> bytes:
    for stream in coded.streams:
        stream.model.encode(stream.symbols, coder)
    return coded.header


def _coded_scale(weight: Quantized) -> tuple[bytes, CodedTensor] | None:
    """The scales' median grid number, and the numbers relative to it, around zero.

    None where bfloat16 is shorter, or where a scale is not on the grid.
    """
    numbers = scale_codes(weight.scale)
    if numbers is None or not len(numbers):
        return None
    median = int(np.sort(numbers)[len(numbers) // 2])
    head, coded = write_varints([fold(median)]), CodedTensor.of(numbers - median)
    return (head, coded) if coded.bits + 8 * len(head) < 16 * len(numbers) else None


def _scale_axis(weight: Quantized, name: str) -> int:
    """The axis that has one scale an index, or `_NO_AXIS` when one scale serves all."""
    wide = [axis for axis, size in enumerate(weight.scale.shape) if size > 1]
    if len(wide) > 1 or wide and wide[0] >= _NO_AXIS:
        raise ArtifactError(
            f"A file must hold scales along one of the first {_NO_AXIS} axes, but those of layer "
            f"{name!r} have shape {tuple(weight.scale.shape)}; use another quantizer."
        )
    return wide[0] if wide else _NO_AXIS


class Record:
    """A layer whose record is read and whose codes are still in the range-coded stream."""

    def __init__(self, name: str, host: str, weight: Described) -> None:
        self.name, self.host, self.weight = name, host, weight
        self.count = int(np.prod(weight.shape, dtype=np.int64))
        self.choice = Choice()
        self.activation: ActivationQuantizer | None = None
        self.outputs: tuple[OutputQuantizer, ...] | None = None
        self._plain: Tensor | None = None
        self._scale = torch.ones(1)
        self._median = 0
        self._scale_models: tuple[bool, tuple[SymbolModel, ...]] | None = None

    def read(self, at: memoryview) -> memoryview:
        """Reads the record from the head of `at`; returns what follows."""
        bits, inputs, outputs = _WIDTHS[at[0] >> 4], at[0] & 15, _WIDTHS.index(32)
        self.form, zeros, coded, axis = at[1] & 3, at[1] >> 2 & 3, at[1] >> 4 & 1, at[1] >> 5
        sparsity, pattern, at = 0.0, "", at[2:]
        if inputs == _OUTPUTS:
            inputs, outputs, at = at[0] & 15, at[0] >> 4, at[1:]
        activation_bits, output_bits = _WIDTHS[inputs], _WIDTHS[outputs]
        if zeros == PATTERN:
            pattern, at = f"{at[0]}:{at[1]}", at[2:]
        elif zeros == SPARSITY:
            sparsity, at = struct.unpack_from("<H", at)[0] / 10000, at[2:]
        self.choice = Choice.of(
            sparsity=sparsity, pattern=pattern, weight_bits=bits, activation_bits=activation_bits,
            output_bits=output_bits,
        )  # fmt: skip
        if activation_bits < 32:
            step, lower = _ACTIVATION.unpack_from(at)
            self.activation = ActivationQuantizer(activation_bits, step, -lower)
            at = at[_ACTIVATION.size :]
        if output_bits < 32:
            at = self._read_outputs(at, output_bits)
        if self.form == DENSE:
            self._plain, at = read_raw(at, self.weight.shape, self.weight.dtype, 32)
            return at
        if self.form == QUANTIZED:
            at = self._read_scale(at, bool(coded), axis)
        self._wide, self._models, at = CodedTensor.read_models(at)
        if self.form == SPARSE:
            count, at = struct.unpack_from("<I", at)[0], at[4:]
            self._plain, at = read_raw(at, (count,), self.weight.dtype, 32)
        return at

    def _read_outputs(self, at: memoryview, bits: int) -> memoryview:
        count, at = at[0], at[1:]
        found = []
        for _ in range(count):
            step, lower = _ACTIVATION.unpack_from(at)
            at = at[_ACTIVATION.size :]
            same, length, at = at[0], at[1], at[2:]
            module = self.host[:same] + bytes(at[:length]).decode()
            found.append(OutputQuantizer(module, ActivationQuantizer(bits, step, -lower)))
            at = at[length:]
        self.outputs = tuple(found)
        return at

    def _read_scale(self, at: memoryview, coded: bool, axis: int) -> memoryview:
        shape = [1] * len(self.weight.shape)
        if axis != _NO_AXIS:
            shape[axis] = self.weight.shape[axis]
        if coded:
            (folded,), at = read_varints(at, 1)
            self._median = unfold(folded)
            wide, models, at = CodedTensor.read_models(at)
            self._scale_models = (wide, models)
            self._scale = torch.ones(shape)
            return at
        stored, at = read_raw(at, tuple(shape), torch.bfloat16, 32)
        self._scale = stored.to(torch.float32)
        return at

    def decode(self, coder: constriction.stream.queue.RangeDecoder) -> Quantized | Tensor:
        """Returns the weight, taking its codes from the stream; call in the records' order."""
        if self.form == DENSE and self._plain is not None:
            return self._plain

        def next_symbols(model: SymbolModel, n: int) -> NDArray[np.int32]:
            return model.decode(n, coder)

        if self._scale_models is not None:
            numbers = CodedTensor.join(*self._scale_models, self._scale.numel(), next_symbols)
            self._scale = scale_from_codes(numbers + self._median).reshape(self._scale.shape)
        codes = CodedTensor.join(self._wide, self._models, self.count, next_symbols)
        codes = codes.reshape(self.weight.shape)
        if self.form == SPARSE and self._plain is not None:
            weight = torch.zeros(self.weight.shape, dtype=self.weight.dtype)
            weight[torch.from_numpy(codes != 0)] = self._plain
            return weight
        small = int(np.abs(codes).max(initial=0)) < 128
        tensor = torch.from_numpy(codes)
        return Quantized(tensor.to(torch.int8) if small else tensor, self._scale)
