"""Which way computes a product on a GPU: the faster one there, tried once for a class of shapes.

Outputs that share their inputs are `row_blocks`. All others can go from connection to connection,
`gather`, whose work grows with connections × samples, or be laid out in tiles with their zeros and
multiplied on tensor cores, `bitmaps`, whose work grows with places alone until samples are many.
No rule between the two is known to hold from one GPU to the next, so none is made up: where
`bitmaps` comes into question both are timed, as tiles are (tuning.py), and what was found is kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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
_FEW_SAMPLES = Choice(("gather",), f"fewer than {SAMPLES} samples")
_FULL = Choice(
    ("gather",), "tensor cores take float16, bfloat16, and float32 where TF32 is allowed"
)
_FEW = Choice(("gather",), f"fewer connections than one in {round(1 / SHARE)} places")
_WIDEST = Choice(("gather",), "the only way for layers as wide")
_OFF = Choice(("gather",), "nothing is tried: SPARSEBENCH_TUNING=off")
_CAPTURED = Choice(("gather",), "nothing can be tried while a CUDA graph is captured")
_MOST_PLACES = 1 << 36
_KEPT = 64  # choices of one layer: models that see batches of every size ask for many


def known(
    product: Product, batch: int, connectivity: Connectivity, dtype: torch.dtype
) -> Choice | None:
    """Return which way computes `product`, of connections that are no row blocks.

    None where that has to be tried.
    """
    if batch < SAMPLES:
        return _FEW_SAMPLES
    precision = precision_of(dtype)
    if dtype == torch.float64 or (dtype == torch.float32 and precision == "ieee"):
        return _FULL
    places = connectivity.shape[0] * connectivity.shape[1]
    if connectivity.nnz < SHARE * places:
        return _FEW
    if places >= _MOST_PLACES:
        return _WIDEST
    key = _key(product, batch, dtype, precision)
    if connectivity.has_derived(key):
        return connectivity.derive(key, lambda: _OFF)  # found, and not made
    return _OFF if tuning.off() else None


def tried(
    product: Product,
    batch: int,
    connectivity: Connectivity,
    dtype: torch.dtype,
    run: Callable[[str], object],
    failed: Callable[[Exception], bool],
) -> Choice:
    """Return the way by which `run` computes `product` fastest.

    `failed` says of an error whether it is one of the compiler's: then nothing is tried again.
    """
    precision = precision_of(dtype)
    words = _words(product, batch, connectivity, f"{dtype} {precision}".removeprefix("torch."))
    gpu = accelerator.of(connectivity.device)
    try:
        way = tuning.TUNER.choose(words, ("gather", "bitmaps"), run, gpu)
    except Exception as error:
        if not failed(error):
            raise
        found = Choice(("gather",), f"a way to be tried does not compile: {type(error).__name__}")
    else:
        if way is None:
            return _CAPTURED
        found = Choice((way,), "the faster of gather and bitmaps, tried on this GPU")
    key = _key(product, batch, dtype, precision)
    return connectivity.derive(key, lambda: found, at_most=_KEPT)


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


def _key(
    product: Product, batch: int, dtype: torch.dtype, precision: str
) -> tuple[str, Product, int, torch.dtype, str]:
    return "gpu way", product, batch, dtype, precision


def _words(product: Product, batch: int, connectivity: Connectivity, types: str) -> str:
    """Name a class of shapes: sizes count by their powers of two, density by steps of a fifth."""
    outputs, inputs = connectivity.shape
    share = round(4 * math.log2(connectivity.nnz / (outputs * inputs)))
    sizes = " ".join(str(power_of_two(size)) for size in (batch, outputs, inputs))
    return f"way of {product} {types} {sizes} {share}"
