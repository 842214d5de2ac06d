"""The nets of fully connected layers over digits, made as their setting says."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsebench.training.masked import MaskedLinear
from sparsebench.training.settings import MLPSetting
from sparselayers import Connectivity, SparseLinear, topologies
from sparselayers.activation import KWinners
from sparselayers.structures import named

PIXELS, CLASSES = 28 * 28, 10

# The wide net sees every pixel this many times, and sums this many groups of outputs per class.
REPEATS = 10


# How many inputs are looked at for connections that are chosen by the data.
SAMPLES = 5_000


def build(setting: MLPSetting, samples: Tensor | None = None) -> nn.Module:
    """Return the network of `setting`, on its device, drawn from its seed.

    Input (n, 784), output (n, 10). Seeds PyTorch's global generator. `samples` (n, 784) are what
    correlated connections are chosen by.
    """
    generator = torch.Generator().manual_seed(setting.seed)
    torch.manual_seed(setting.seed)
    network = (
        _wide(setting, generator) if setting.model == "wide" else _mlp(setting, samples, generator)
    )
    return network.to(setting.device)


class WideNet(nn.Module):
    """Five sparse layers of one width over repeated pixels, as the SparseLinear tutorial builds it.

    Input (n, 784), output (n, 10): pixels repeated ten times side by side, scaled and shifted by
    learned vectors; LayerNorm and ReLU between the layers; the last layer's outputs summed in
    `view(n, -1, 10)`, so that output i counts for class i mod 10.
    """

    def __init__(self, width: int, sparsity: float, *, generator: torch.Generator) -> None:
        super().__init__()
        sizes = (PIXELS * REPEATS, *[width] * 5)
        self.scale = nn.Parameter(torch.ones(sizes[0]))
        self.shift = nn.Parameter(torch.zeros(sizes[0]))
        self.layers = nn.ModuleList(
            SparseLinear(sizes[i], sizes[i + 1], sparsity=sparsity, generator=generator)
            for i in range(5)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Return the class scores (n, 10)."""
        x = x.repeat_interleave(REPEATS, dim=1) * self.scale + self.shift
        for layer, norm in zip(self.layers, self.norms, strict=False):
            x = F.relu(norm(layer(x)))
        x = self.layers[-1](x)
        return x.view(x.shape[0], -1, CLASSES).sum(1)


def _wide(setting: MLPSetting, generator: torch.Generator) -> nn.Module:
    return WideNet(setting.width, setting.sparsity, generator=generator)


def _mlp(setting: MLPSetting, samples: Tensor | None, generator: torch.Generator) -> nn.Module:
    """784 – width – … – 10 with norms between, each linear layer as the setting says."""
    depth = setting.hidden_layers
    sizes = (PIXELS, *[setting.width] * depth, CLASSES)
    shapes = [(sizes[i + 1], sizes[i]) for i in range(depth + 1)]
    layers = [setting] * (depth + 1)
    if setting.at_start != "none":
        whole = replace(setting, sparsity=0.0, at_start="none", topology="random")
        layers = [whole] * (depth + 1)
    if setting.annealing != "none":
        layers = [replace(setting, sparsity=setting.initial_sparsity)] * (depth + 1)
    if setting.output == "dense":
        layers[-1] = replace(
            setting,
            model="dense",
            annealing="none",
            rewiring="none",
            at_start="none",
            structure="unstructured",
        )
    elif setting.output == "erdos_renyi":
        spread = topologies.erdos_renyi_sparsities(shapes, setting.sparsity)
        layers = [replace(setting, sparsity=sparsity) for sparsity in spread]
    if setting.topology == "user":  # the tutorial gives its own connections to the first alone
        layers[1:] = [replace(each, topology="random") for each in layers[1:]]
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(depth):
        end = str(number + 1) if number else ""
        modules[f"hidden{end}"] = _linear(layers[number], *shapes[number], samples, generator)
        if setting.norm == "layer":
            modules[f"norm{end}"] = nn.LayerNorm(setting.width)
        modules[f"activation{end}"] = (
            KWinners(features=setting.width)
            if setting.activation == "kwinners"
            else nn.ReLU(inplace=True)  # what is before it keeps other things: a copy gains nothing
        )
    modules["output"] = _linear(layers[-1], *shapes[-1], samples, generator)
    return nn.Sequential(modules)


def _linear(
    setting: MLPSetting,
    out_features: int,
    in_features: int,
    samples: Tensor | None,
    generator: torch.Generator,
) -> nn.Module:
    if setting.model == "dense":
        return nn.Linear(in_features, out_features)
    sparse = SparseLinear(
        in_features,
        out_features,
        connectivity=_connectivity(setting, (out_features, in_features), samples, generator),
        init=setting.init,
        generator=generator,
    )
    return MaskedLinear(sparse) if setting.model == "masked" else sparse


def _connectivity(
    setting: MLPSetting,
    shape: tuple[int, int],
    samples: Tensor | None,
    generator: torch.Generator,
) -> Connectivity:
    if setting.structure != "unstructured":
        return named(setting.structure).draw(shape, setting.sparsity, generator=generator)
    if setting.topology == "user":
        return _tutorial_edges(shape, setting.sparsity, generator)
    if setting.topology == "receptive_fields":
        return topologies.receptive_fields(
            shape, setting.sparsity, randomness=setting.randomness, generator=generator
        )
    if setting.topology == "correlated":
        return _correlated(shape, setting.sparsity, samples)
    chosen: Connectivity = getattr(topologies, setting.topology)(
        shape, setting.sparsity, generator=generator
    )
    return chosen


def _correlated(shape: tuple[int, int], sparsity: float, samples: Tensor | None) -> Connectivity:
    """Connect by the pixels' correlation; layers after the first take its pattern side by side.

    So do the authors, whose hidden layers are twice as wide as the input.
    """
    if samples is None:
        raise ValueError("correlated connections need samples of the data")
    first = topologies.correlated((shape[0], PIXELS), sparsity, samples=samples.cpu())
    row, col = first.row.long(), first.col.long()
    copies = [torch.stack((row, col + shift)) for shift in range(0, shape[1], PIXELS)]
    return topologies.from_edges(torch.cat(copies, 1), shape)


def _tutorial_edges(
    shape: tuple[int, int], sparsity: float, generator: torch.Generator
) -> Connectivity:
    """Connect each input to (1 − sparsity) · out outputs drawn with replacement, as published.

    What is drawn twice is one connection: at 90% and 2000 outputs, 5% of the edges go that way.
    """
    out_features, in_features = shape
    each = round((1.0 - sparsity) * out_features)
    inputs = torch.arange(in_features).repeat_interleave(each)
    outputs = torch.randint(out_features, (inputs.numel(),), generator=generator)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="connectivity lists")
        return topologies.from_edges(torch.stack((outputs, inputs)), shape)
