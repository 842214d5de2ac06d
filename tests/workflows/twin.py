"""The right answer to every workflow: the same layers as dense ones under a mask, in float64."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sparselayers as sl


class MaskedLinear(nn.Module):
    """What a SparseLinear computes, by a dense weight whose other entries are zeros."""

    def __init__(self, layer: sl.SparseLinear) -> None:
        super().__init__()
        self.register_buffer("mask", layer.connectivity.mask())
        weight = torch.zeros(layer.shape, dtype=torch.float64)
        weight[self.mask] = layer.weights.detach().double()
        self.weight = nn.Parameter(weight)
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach().double())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.double(), self.weight * self.mask, self.bias)


def model(*sizes: int, sparsity: float = 0.5, seed: int = 0) -> nn.Sequential:
    """Sparse linear layers of these sizes with ReLUs between them."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for rows, columns in zip(sizes[1:], sizes, strict=False):
        layers += [sl.SparseLinear(columns, rows, sparsity=sparsity, generator=generator)]
        layers += [nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def twin_of(sparse: nn.Sequential) -> nn.Sequential:
    """The same model of dense layers under masks."""
    return nn.Sequential(
        *(MaskedLinear(m) if isinstance(m, sl.SparseLinear) else m for m in sparse)
    )


def assert_same(sparse: nn.Sequential, twin: nn.Sequential, x: Tensor) -> None:
    """Outputs, and every gradient of their squares' sum, are those of the twin."""
    inputs = [x.detach().clone().requires_grad_() for _ in range(2)]
    outputs = [sparse(inputs[0]), twin(inputs[1])]
    torch.testing.assert_close(outputs[0].double(), outputs[1], rtol=1e-4, atol=1e-5)
    gradients = []
    for module, given, y in zip((sparse, twin), inputs, outputs, strict=True):
        leaves = [given, *module.parameters()]
        gradients.append(torch.autograd.grad(y.square().sum(), leaves))
    torch.testing.assert_close(
        gradients[0][0].double(), gradients[1][0].double(), rtol=1e-3, atol=1e-4
    )
    layers = [m for m in sparse if isinstance(m, sl.SparseLinear)]
    for number, layer in enumerate(layers):
        expected = gradients[1][1 + 2 * number][layer.connectivity.mask()]
        torch.testing.assert_close(
            gradients[0][1 + 2 * number].double(), expected, rtol=1e-3, atol=1e-4
        )
