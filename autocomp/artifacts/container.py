"""The file format: `pack` a network into bytes, `unpack` bytes into a network.

A safetensors file with one tensor `payload` (bytes) and the metadata `format`, `version` and
`sha256` of the payload. The payload, little-endian:

    u32, then that many bytes    index: names, shapes, dtypes, builder, see `index.py`
    per layer                    record: bits, sparsity, activation range, symbol models
    per side tensor              its values, see `side.py`
    u32, then that many bytes    deflated raw values of all unchanged tensors
    32-bit words to the end      one range-coded stream of all codes, masks and scales

Nothing in it is code, and reading it runs none.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from typing import TypeVar

import constriction
import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as safetensors_load

from autocomp.artifacts.deflate import deflate, inflate
from autocomp.artifacts.index import Index
from autocomp.artifacts.limits import check_declared
from autocomp.artifacts.packed import PackedModel
from autocomp.artifacts.records import Record, write_record
from autocomp.artifacts.side import read_side, write_side
from autocomp.artifacts.tensors import read_raw, write_raw
from autocomp.core.plan import Plan
from autocomp.errors import ArtifactError
from autocomp.plugins.imports import describe

VERSION = "2"
_T = TypeVar("_T")


def pack(model: PackedModel) -> bytes:
    """Returns the bytes of the compressed file; ArtifactError for a tensor that none can hold."""
    coder = constriction.stream.queue.RangeEncoder()
    records = b"".join(write_record(model, layer, coder) for layer in model.layers)
    side = write_side(model)
    index = Index.of(model)
    exact = deflate(b"".join(write_raw(model.exact[x.name], 32) for x in index.exact))
    words = coder.get_compressed().astype("<u4")
    head = index.to_bytes()
    payload = b"".join(
        (
            struct.pack("<I", len(head)), head, records, side,
            struct.pack("<I", len(exact)), exact, words.tobytes(),
        )
    )  # fmt: skip
    digest = hashlib.sha256(payload).hexdigest()[:32]
    # written here because safetensors orders the metadata anew in every call
    described = {
        "__metadata__": {"format": "autocomp", "version": VERSION, "sha256": digest},
        "payload": {"dtype": "U8", "shape": [len(payload)], "data_offsets": [0, len(payload)]},
    }
    header = json.dumps(described, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + payload


def unpack(data: bytes, shapes: Mapping[str, tuple[int, ...]] | None = None) -> PackedModel:
    """Reads what `pack` wrote.

    Args:
        data: the bytes.
        shapes: state-dict name -> shape, of the network that the file is for: nothing is decoded
            for another. Without them, the file's own length bounds what it may ask for.

    Raises:
        ArtifactError: if the bytes are no such file, damaged, truncated or of another version, or
            of another network.
    """
    payload = _payload(data)
    return _guarded(lambda: _read(payload, shapes))


def read_index(data: bytes) -> Index:
    """Returns what a file says of its tensors, without one of them; ArtifactError as `unpack`."""
    payload = _payload(data)
    return _guarded(lambda: _index(payload)[0])


def _guarded(read: Callable[[], _T]) -> _T:
    """Returns what reading gives; ArtifactError for whatever a file makes it raise."""
    try:
        return read()
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


def _index(payload: memoryview) -> tuple[Index, memoryview]:
    """Returns the index, and what follows it."""
    length = struct.unpack_from("<I", payload)[0]
    return Index.from_bytes(bytes(payload[4 : 4 + length])), payload[4 + length :]


def _read(payload: memoryview, shapes: Mapping[str, tuple[int, ...]] | None) -> PackedModel:
    index, at = _index(payload)
    if shapes is None:
        check_declared(index.n_weights, index.exact_bytes, len(payload))
    elif index.shapes != {name: tuple(shape) for name, shape in shapes.items()}:
        raise ArtifactError("The file must be of the network that it is read for, but is not.")
    pending = [Record(layer.name, layer.host, weight) for layer, weight in index.layers]
    for record in pending:
        at = record.read(at)
    plan = Plan({record.name: record.choice for record in pending})
    side, at = read_side(index, at, plan.side_bits)
    length = struct.unpack_from("<I", at)[0]
    raw = memoryview(inflate(bytes(at[4 : 4 + length]), index.exact_bytes))
    exact = {}
    for x in index.exact:
        exact[x.name], raw = read_raw(raw, x.shape, x.dtype, 32)
    words = np.frombuffer(at[4 + length :], "<u4").astype(np.uint32)
    coder = constriction.stream.queue.RangeDecoder(words)
    return PackedModel(
        plan=plan,
        layers=tuple(layer for layer, _ in index.layers),
        weights={record.weight.name: record.decode(coder) for record in pending},
        side=side,
        exact=exact,
        norms=tuple(norm.name for norm in index.norms),
        wide=frozenset(x.name for x in index.side if x.wide),
        aliases=index.aliases,
        activations={r.name: r.activation for r in pending if r.activation is not None},
        outputs={r.name: r.outputs for r in pending if r.outputs is not None},
        source=index.source,
        structure=index.structure,
        history=index.history,
    )
