"""Which way computes a product on a GPU: the faster one there, tried once for a class of shapes.

Outputs that share their inputs are `row_blocks`. All others can go from connection to connection,
`gather`, whose work grows with connections × samples, or be laid out in tiles with their zeros and
multiplied on tensor cores, `bitmaps`, whose work grows with places alone until samples are many.
No rule between the two is known to hold from one GPU to the next, so none is made up: where
`bitmaps` comes into question both are timed, as tiles are (tuning.py), and what was found is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Literal

import torch
from torch import Tensor

from sparselayers import accelerator
from sparselayers.backends.plan import Choice
from sparselayers.backends.triton_kernels import tuning
from sparselayers.backends.triton_kernels.precision import precision_of
from sparselayers.backends.triton_kernels.tiles import power_of_two
from sparselayers.connectivity import Connectivity

Product = Literal["y", "dx", "dweights"]

SAMPLES = 64  # and more, for a tile of weights to be worth laying out
SHARE = 1 / 64  # of the places: with fewer connections than one in two words hardly a place counts

ROW_BLOCKS = Choice(("row_blocks",), "outputs share their inputs")
FEW_SAMPLES = Choice(("gather",), f"fewer than {SAMPLES} samples")
_FULL = Choice(
    ("gather",), "tensor cores take float16, bfloat16, and float32 where TF32 is allowed"
)
_FEW = Choice(("gather",), f"fewer connections than one in {round(1 / SHARE)} places")
_WIDEST = Choice(("gather",), "the only way for layers as wide")
OFF = Choice(("gather",), "nothing is tried: SPARSEBENCH_TUNING=off")
CAPTURED = Choice(("gather",), "nothing can be tried while a CUDA graph is captured")
_WORD, _MOST_WORDS = 32, 1 << 31  # of bits that bitmaps can count: see launch_bitmaps.py


def choose(
    product: Product,
    batch: int,
    connectivity: Connectivity,
    dtype: torch.dtype,
    run: Callable[[str], object],
    failed: Callable[[Exception], bool],
) -> Choice:
    """Return which way computes `product`, of connections that are no row blocks.

    Where that has to be tried, `run` computes it by a way; `failed` says of an error whether it is
    one of the compiler's, whose way does not come into question.
    """
    precision = precision_of(dtype)
    outputs, inputs = connectivity.shape
    if batch < SAMPLES:
        return FEW_SAMPLES
    if dtype == torch.float64 or (dtype == torch.float32 and precision == "ieee"):
        return _FULL
    if connectivity.nnz < SHARE * outputs * inputs:
        return _FEW
    if outputs * -(-inputs // _WORD) >= _MOST_WORDS:
        return _WIDEST
    if tuning.off():
        return OFF
    words = _words(product, batch, connectivity, f"{dtype} {precision}".removeprefix("torch."))
    gpu = accelerator.of(connectivity.device)
    try:
        way = tuning.TUNER.choose(words, ("gather", "bitmaps"), run, gpu)
    except Exception as error:
        if not failed(error):
            raise
        kind = type(error).__name__
        return Choice(("gather",), f"a way to be tried does not compile: {kind}")
    if way is None:
        return CAPTURED
    return Choice((way,), "the faster of gather and bitmaps, tried on this GPU")


def key(product: Product, batch: int, dtype: torch.dtype) -> tuple[Hashable, ...]:
    """Return under which key what was chosen is kept with the connections."""
    return "gpu way", product, batch, dtype, precision_of(dtype)


def drawn(
    batch: int, connectivity: Connectivity, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x (batch, in), dy (batch, out) and values (nnz,) to try a product with.

    The generators that users draw from are left as they are.
    """
    device, (outputs, inputs) = connectivity.device, connectivity.shape
    generator = torch.Generator(device).manual_seed(0)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, device=device, dtype=dtype)

    return normal(batch, inputs), normal(batch, outputs), normal(connectivity.nnz)


def _words(product: Product, batch: int, connectivity: Connectivity, types: str) -> str:
    """Name a class of shapes: sizes count by their powers of two, density by steps of a fifth."""
    outputs, inputs = connectivity.shape
    share = round(4 * math.log2(connectivity.nnz / (outputs * inputs)))
    sizes = " ".join(str(power_of_two(size)) for size in (batch, outputs, inputs))
    return f"way of {product} {types} {sizes} {share}"
