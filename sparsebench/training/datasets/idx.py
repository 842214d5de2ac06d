"""The IDX files that MNIST and the sets of its shape come in."""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor

UNSIGNED_BYTES = 8  # the code of the element type in the header's third byte


def read_idx(path: Path, *, md5: str | None = None) -> Tensor:
    """Return the unsigned bytes of an IDX file, shaped as its header says; .gz is unpacked.

    Raises ValueError, naming the file and what was expected and found, where the file is no such
    file, is longer or shorter than its header says, or has another checksum than `md5`.
    Format: http://yann.lecun.com/exdb/mnist (big-endian sizes after a four-byte magic number).
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
    if len(content) < 4 or content[:3] != bytes((0, 0, UNSIGNED_BYTES)):
        raise ValueError(
            f"{path} is not an IDX file of bytes: it must begin with 00 00 08, "
            f"and begins with {content[:3].hex(' ') or 'nothing'}"
        )
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = tuple(struct.unpack(f">{dimensions}I", content[4:start].ljust(start - 4, b"\0")))
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise ValueError(
            f"{path} is damaged: its header {shape} asks for {expected:,} bytes, "
            f"the file has {len(content):,}"
        )
    if md5 is not None and (found := hashlib.md5(content).hexdigest()) != md5:
        raise ValueError(f"{path} is damaged: its MD5 must be {md5}, and is {found}")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).view(shape)
