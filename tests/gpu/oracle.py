"""Problems with awkward shapes, and the dense answers to them."""

import torch

import sparselayers as sl
from sparselayers.backends import BACKENDS

TOLERANCE = {
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.float16: {"rtol": 1e-2, "atol": 2e-2},
    torch.bfloat16: {"rtol": 4e-2, "atol": 8e-2},
}


def mask_of(shape, density, seed=0):
    """A mask with empty rows and columns planted."""
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < density
    if shape[0] > 4:
        mask[::5] = False
    if shape[1] > 4:
        mask[:, 3::7] = False
    mask[-1, 0] = True
    return mask


def check(
    mask,
    batch,
    device,
    dtype=torch.float32,
    *,
    bias=True,
    index=torch.int32,
    backend="triton",
    by_sample=True,
):
    """Compare the three products of a backend on `device` with the dense ones.

    Activations lie sample by sample, or feature by feature.
    """
    generator = torch.Generator().manual_seed(batch)

    def normal(*size):
        return torch.randn(size, generator=generator).to(dtype)

    row_ptr = torch.cat((torch.zeros(1, dtype=index), mask.sum(1).cumsum(0).to(index)))
    col = mask.nonzero()[:, 1].to(index)
    connectivity = sl.Connectivity(tuple(mask.shape), row_ptr, col).to(device)
    out, features = mask.shape
    values, x, dy = normal(connectivity.nnz), normal(batch, features), normal(batch, out)
    b = normal(out) if bias else None
    weight = torch.zeros(mask.shape, dtype=torch.float64)
    weight[mask] = values.double()
    expected = {
        "output": x.double() @ weight.T + (b.double() if bias else 0),
        "input": dy.double() @ weight,
        "values": (dy.double().T @ x.double())[mask],
    }
    backend = BACKENDS[backend]
    values, x, dy = values.to(device), x.to(device), dy.to(device)
    if not by_sample:
        x, dy = (each.t().contiguous().t() for each in (x, dy))
    arranged = backend.arrange(x, connectivity)
    torch.testing.assert_close(arranged, x, rtol=0, atol=0)
    y = backend.forward(arranged, values, b.to(device) if bias else None, connectivity)
    gradients = backend.backward(dy, arranged, values, connectivity, needs=(True, True, True))
    actual = {"output": y, "input": gradients.input, "values": gradients.values}
    for name, tensor in actual.items():
        assert tensor.dtype == dtype
        assert tensor.shape == expected[name].shape
        torch.testing.assert_close(tensor.cpu().double(), expected[name], **TOLERANCE[dtype])
    torch.testing.assert_close(gradients.bias, dy.sum(0))
