"""The file format: `pack` a network into bytes, `unpack` bytes into a network.

A safetensors file with one tensor `payload` (bytes) and the metadata `format`, `version` and
`sha256` of the payload. The payload, little-endian:

    u32, then that many bytes    index: deflated JSON; names, shapes, dtypes, builder
    per layer                    record: bits, sparsity, activation range, symbol models, scales
    per side tensor              its values in 16 or 32 bits
    u32, then that many bytes    deflated raw values of all unchanged tensors
    u32, then that many words    one range-coded stream of all codes and masks

Nothing in it is code, and reading it runs none.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from typing import Any

import constriction
import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load
from torch import Tensor

from autocomp.artifacts.packed import LayerEntry, PackedModel
from autocomp.artifacts.records import Record, write_record
from autocomp.artifacts.tensors import dtype_name, dtype_named, read_raw, write_raw
from autocomp.compressors.base import Quantized
from autocomp.errors import ArtifactError
from autocomp.imports import describe
from autocomp.plan import Choice, Plan

VERSION = "1"


def pack(model: PackedModel) -> bytes:
    """Returns the bytes of the compressed file; ArtifactError for a tensor that none can hold."""
    coder = constriction.stream.queue.RangeEncoder()
    records = b"".join(write_record(model, layer, coder) for layer in model.layers)
    side_bits = model.plan.side_bits
    side = b"".join(write_raw(t, side_bits) for t in model.side.values())
    exact = zlib.compress(b"".join(write_raw(t, 32) for t in model.exact.values()), 9)
    words = coder.get_compressed().astype("<u4")
    index = zlib.compress(json.dumps(_index(model), separators=(",", ":")).encode(), 9)
    payload = b"".join(
        (
            struct.pack("<I", len(index)), index, records, side,
            struct.pack("<I", len(exact)), exact,
            struct.pack("<I", len(words)), words.tobytes(),
        )
    )  # fmt: skip
    digest = hashlib.sha256(payload).hexdigest()[:32]
    # written here because safetensors orders the metadata anew in every call
    described = {
        "__metadata__": {"format": "autocomp", "version": VERSION, "sha256": digest},
        "payload": {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]},
    }
    head = json.dumps(described, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + payload


def unpack(data: bytes) -> PackedModel:
    """Reads what `pack` wrote.

    Raises:
        ArtifactError: if the bytes are no such file, damaged, truncated or of another version.
    """
    payload = _payload(data)
    try:
        return _read(payload)
    except ArtifactError:
        raise
    except Exception as error:  # a checksum collision or a file made by other means
        raise ArtifactError(
            f"The file must hold a whole network, but reading it failed ({describe(error)}); "
            "write the file again."
        ) from error


def _payload(data: bytes) -> memoryview:
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = dict(header.get("__metadata__", {}))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ArtifactError(
            "A compressed file must be a safetensors container, but this is none (or its head is "
            "damaged); give the model.safetensors of a run."
        ) from None
    if metadata.get("format") != "autocomp":
        raise ArtifactError(
            "A compressed file must say format=autocomp, but this safetensors file does not; plain "
            "weights belong to --weights."
        )
    if metadata.get("version") != VERSION:
        raise ArtifactError(
            f"The file must have version {VERSION}, but has {metadata.get('version')!r}; read it "
            "with the autocomp that wrote it."
        )
    try:
        payload = safetensors_load(data)["payload"].numpy().tobytes()
    except (SafetensorError, KeyError) as error:
        raise ArtifactError(
            f"The file must be whole, but is damaged or truncated ({error}); copy it again."
        ) from None
    if hashlib.sha256(payload).hexdigest()[:32] != metadata.get("sha256"):
        raise ArtifactError("The file's checksum must fit its payload, but it differs; copy again.")
    return memoryview(payload)


def _index(model: PackedModel) -> dict[str, Any]:
    def described(name: str, tensor: Quantized | Tensor) -> list[Any]:
        plain = tensor.codes if isinstance(tensor, Quantized) else tensor
        kind = "float32" if isinstance(tensor, Quantized) else dtype_name(tensor.dtype)
        return [name, list(plain.shape), kind]

    return {
        "layers": [
            [x.name, x.host, *described(x.parameter, model.weights[x.parameter])]
            for x in model.layers
        ],
        "side": [described(name, tensor) for name, tensor in model.side.items()],
        "exact": [described(name, tensor) for name, tensor in model.exact.items()],
        "aliases": dict(model.aliases),
        "source": model.source,
        "side_bits": model.plan.side_bits,
    }


def _read(payload: memoryview) -> PackedModel:
    length = struct.unpack_from("<I", payload)[0]
    index = json.loads(zlib.decompress(payload[4 : 4 + length]))
    at = payload[4 + length :]
    choices: dict[str, Choice] = {}
    pending: list[Record] = []
    for name, _, parameter, shape, kind in index["layers"]:
        record = Record(name, parameter, tuple(shape), dtype_named(kind))
        at = record.read(at)
        choices[name] = record.choice
        pending.append(record)
    side, at = _read_tensors(index["side"], at, int(index["side_bits"]))
    length = struct.unpack_from("<I", at)[0]
    exact, _ = _read_tensors(index["exact"], memoryview(zlib.decompress(at[4 : 4 + length])), 32)
    at = at[4 + length :]
    n_words = struct.unpack_from("<I", at)[0]
    words = np.frombuffer(at[4 : 4 + 4 * n_words], "<u4").astype(np.uint32)
    coder = constriction.stream.queue.RangeDecoder(words)
    return PackedModel(
        plan=Plan(choices),
        layers=tuple(LayerEntry(name, parameter, host) for name, host, parameter, *_ in
                     index["layers"]),
        weights={record.parameter: record.decode(coder) for record in pending},
        side=side,
        exact=exact,
        aliases=index["aliases"],
        activations={r.name: r.activation for r in pending if r.activation is not None},
        source=index["source"],
    )  # fmt: skip


def _read_tensors(
    index: list[list[Any]], at: memoryview, bits: int
) -> tuple[dict[str, Tensor], memoryview]:
    tensors = {}
    for name, shape, kind in index:
        tensors[name], at = read_raw(at, tuple(shape), dtype_named(kind), bits)
    return tensors, at
