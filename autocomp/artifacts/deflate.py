"""Deflating with a dictionary of common names, which an index then need not spell out."""

from __future__ import annotations

import zlib

from autocomp.errors import ArtifactError


def deflate(data: bytes) -> bytes:
    """Returns `data` as a bare deflate stream."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    return stream.compress(data) + stream.flush()


def inflate(data: bytes, most: int) -> bytes:
    """Returns what was deflated.

    Args:
        data: the stream.
        most: bytes that it may hold.

    Raises:
        ArtifactError: if the stream is cut off, or holds more.
        zlib.error: if it is damaged.
    """
    stream = zlib.decompressobj(-15, _DICTIONARY)
    found = stream.decompress(data, most + 1)
    if len(found) > most:
        raise ArtifactError(
            f"A deflated part of the file may hold {most} bytes, but holds more; the file is "
            "damaged or hostile."
        )
    if stream.unused_data:
        raise ArtifactError("A deflated part of the file must end with it, but more follows.")
    if not stream.eof:
        raise ArtifactError(
            "The file must hold whole parts, but a deflated one is cut off; copy it again."
        )
    return found


def _dictionary() -> bytes:
    """Names and shapes of common networks, the commonest last; part of the format, never change."""
    words = ['"float64"],["bfloat16"],["float16"],["int64"],"positions"', '"class_token",[1,1,192]']
    for i in range(12):
        words.append(f'["features.{4 * i}",[512,256,3,3]],["features.{4 * i + 1}",512,1],')
        words.append(f'["blocks.{i}.attention.in_proj",[576,192],"blocks.{i}.attention.in_proj_')
        words.append(f'weight","blocks.{i}.attention","float32"],["blocks.{i}.mlp.0",[768,192]],')
        words.append(f'["blocks.{i}.norm1.weight",[192]],["blocks.{i}.norm1.bias",[192]],')
        words.append(f'["blocks.{i}.layers.0.0",[96,1,3,3]],["blocks.{i}.layers.0.1",96,1],')
    words.append('["classifier.bias",[10]],["head.bias",[10]],["fc.bias",[1000]],"downsample.0"')
    words.append('{"name":"vgg","options":{"num_classes":100,"in_channels":1}},"mobilenetv2"')
    for kind in ("conv", "bn"):
        words.append('[[["conv1",[16,3,3,3]],' if kind == "conv" else '[["bn1",16,1],')
        before = 16
        for stage in (1, 2, 3):
            for i in range(6):
                planes = 8 << stage
                size = f"[{planes},{before if i == 0 else planes},3,3]"
                size = size if kind == "conv" else f"{planes},1"
                words.append(f'["layer{stage}.{i // 2}.{kind}{i % 2 + 1}",{size}],')
                before = planes
        words.append('["linear",[10,64]]],' if kind == "conv" else "")
    words.append('],[["linear.bias",[10]]],[],{},{"name":"resnet20","options":{}}]')
    return "".join(words).encode()


_DICTIONARY = _dictionary()
