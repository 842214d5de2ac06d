"""Rows of connections, lanes of the batch: the way for few connections (csrc/lanes)."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor

from sparselayers.backends.base import Gradients, OneBackward
from sparselayers.backends.native import arranging, lane_bits, library
from sparselayers.backends.native.arranging import COMPUTE, arranged
from sparselayers.backends.native.lane_bits import told_of, transpose_of
from sparselayers.backends.native.library import SUFFIXES, address, threads_of_product
from sparselayers.backends.native.rows import rows_of
from sparselayers.connectivity import Connectivity


class Lanes(OneBackward):
    """Vectorised over the batch and parallel over rows; see layers/sparselayers/csrc/README.md.

    Serves float32 and float64; bfloat16, which is kept as it is and multiplied and added up in
    float32; and float16 by way of float32 copies. Results are the same for every run with the
    same number of threads (`torch.set_num_threads`).
    """

    name = "lanes"
    turned_by_product = -1

    def unavailable(self) -> str | None:
        """Say how to get the kernels where they were not built."""
        return library.unavailable()

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve floating point types on CPUs."""
        if library.kernels is None or device.type != "cpu":
            return False
        return dtype in SUFFIXES or dtype == torch.float16

    def arrange(self, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return `x` feature-major where one register holds the batch, else as it is.

        Passes arrange larger ones themselves, block by block. Of half as many bits it stays as it
        is: what is saved would be twice as large.
        """
        del connectivity
        return arranged(x) if x.dtype in (torch.float32, torch.float64) else x

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        if values.dtype == torch.float16:
            wide = None if bias is None else bias.float()
            return self.forward(x.float(), values.float(), wide, connectivity).to(values.dtype)
        result = values.new_empty(x.shape[0], connectivity.shape[0])
        self._multiply(x, values, bias, connectivity, result)
        return result

    def product(self, x: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return y = x Wᵀ, written feature by feature."""
        if values.dtype == torch.float16:
            return super().product(x, values, connectivity)
        result = values.new_empty(connectivity.shape[0], x.shape[0]).t()
        self._multiply(x, values, None, connectivity, result)
        return result

    def _multiply(
        self,
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        connectivity: Connectivity,
        result: Tensor,
    ) -> None:
        x, batch = arranged(x), x.shape[0]
        by_bits = lane_bits.serve(batch, values.dtype, connectivity)
        told = told_of(connectivity, by_bits=by_bits)
        _of(values.dtype).multiply(
            told.kernel,
            values.data_ptr(),
            address(bias),
            x.data_ptr(),
            *x.stride(),
            batch,
            result.data_ptr(),
            *result.stride(),
            threads_of_product(batch, values.numel(), values.dtype, cut=not by_bits),
        )

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed, from one arrangement of dy."""
        dtype, batch = values.dtype, dy.shape[0]
        needs_input, needs_values, needs_bias = needs
        half = dtype == torch.float16
        if half or (
            dtype in COMPUTE and (needs_values or needs_bias) and arranging.blocks(batch, dtype) > 1
        ):
            # Sums over several blocks would be rounded after each of them; those of dx are not.
            wide = None if x is None else x.float()
            weights = values.float() if half else values.new_empty(0, dtype=torch.float32)
            sums = (needs_input and half, needs_values, needs_bias)
            found = self.backward(dy.float(), wide, weights, connectivity, needs=sums)
            found = Gradients(*(None if g is None else g.to(dtype) for g in found))
            if needs_input and not half:
                found = found._replace(input=self.grad_input(dy, values, connectivity))
            return found
        dy = arranged(dy)
        x = arranged(x) if needs_values and x is not None else None
        gradients = Gradients(
            values.new_empty(batch, connectivity.shape[1]) if needs_input else None,
            values.new_empty(connectivity.nnz) if x is not None else None,
            values.new_empty(connectivity.shape[0]) if needs_bias else None,
        )
        if needs_input and x is not None and is_narrow(batch, dtype, connectivity):
            _backward_narrow(dy, x, values, connectivity, gradients)
            return gradients
        by_bits = lane_bits.serve(batch, dtype, connectivity)
        told = told_of(connectivity, by_bits=by_bits)
        columns = transpose_of(connectivity, by_bits=by_bits) if needs_input else None
        _of(dtype).backward(
            told.kernel,
            None if columns is None else columns.kernel,
            values.data_ptr(),
            dy.data_ptr(),
            *dy.stride(),
            *_place(x),
            batch,
            *_place(gradients.input),
            address(gradients.values),
            address(gradients.bias),
            threads_of_product(batch, connectivity.nnz, values.dtype, products=2, cut=not by_bits),
        )
        return gradients


def is_narrow(batch: int, dtype: torch.dtype, connectivity: Connectivity) -> bool:
    """Whether one pass for both gradients pays: a dx for every thread must be the lesser work.

    It must also be the lesser memory: two numbers a connection, less than an index of the other
    way's.
    """
    unit = arranging.unit(batch, dtype) if batch else 0
    lanes = torch.get_num_threads() * connectivity.shape[1]
    return 0 < batch <= unit and lanes * unit <= 2 * connectivity.nnz


def _backward_narrow(
    dy: Tensor, x: Tensor, values: Tensor, connectivity: Connectivity, gradients: Gradients
) -> None:
    kernels, rows, batch = _of(values.dtype), rows_of(connectivity), x.shape[0]
    kernels.backward_narrow(
        rows.kernel,
        values.data_ptr(),
        dy.data_ptr(),
        dy.stride(1),
        x.data_ptr(),
        x.stride(1),
        batch,
        *_place(gradients.input),
        address(gradients.values),
        address(gradients.bias),
        threads_of_product(batch, connectivity.nnz, values.dtype, products=2),
    )


def _place(matrix: Tensor | None) -> tuple[int, int, int]:
    """The address and the strides of a matrix, zeros where there is none."""
    if matrix is None:
        return 0, 0, 0
    return matrix.data_ptr(), matrix.stride(0), matrix.stride(1)


@cache
def _of(dtype: torch.dtype) -> SimpleNamespace:
    """The kernels for one type of values."""
    return library.loops(dtype, "multiply", "backward", "backward_narrow")
