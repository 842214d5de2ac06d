"""The networks, dense and pruned: in masks, in sparse storage, or in SparseProp's."""

from __future__ import annotations

import contextlib
import io
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from sparsebench import vision
from sparsebench.training.cifar import masks
from sparsebench.training.settings import CifarSetting
from sparselayers import structures
from sparselayers.convert import Decision, convert, convert_model, sparsify
from sparselayers.convert.model import replace_modules
from sparselayers.layer import SparseLayer
from sparselayers.prune import prune_to_sparsity

CLASSES = 10
PRUNED = nn.Linear, nn.Conv2d

State = Mapping[str, Any]


class UnavailableError(RuntimeError):
    """A library that is not there, and how to get it."""


@dataclass(frozen=True)
class Built:
    """A network, and for each of its layers why it is sparse or dense, where that was measured."""

    network: nn.Module
    decisions: tuple[Decision, ...] = ()


def vgg11_bn() -> nn.Module:
    """Return torchvision's VGG11 with batch normalisation, with 512–4096–4096–10 at its end.

    That is the classifier that ActuallySparse uses; initialised as torchvision does.
    """
    vgg = vision.part("models.vgg")
    network = nn.Sequential(
        OrderedDict(
            features=vgg.make_layers(vgg.cfgs["A"], batch_norm=True),
            flatten=nn.Flatten(),
            classifier=nn.Sequential(
                nn.Linear(512, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(),
                nn.Dropout(),
                nn.Linear(4096, CLASSES),
            ),
        )
    )
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0, 0.01)
        if isinstance(layer, PRUNED) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return network


def resnet18() -> nn.Module:
    """Return torchvision's ResNet18 with the usual beginning for small images.

    That is a 3 × 3 convolution without stride, and no pooling after it.
    """
    network: nn.Module = vision.part("models").resnet18(weights=None, num_classes=CLASSES)
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    network.maxpool = nn.Identity()
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {"vgg11_bn": vgg11_bn, "resnet18": resnet18}


def build(
    setting: CifarSetting,
    *,
    sparsity: float = 0.0,
    start: State | None = None,
    sparse: Collection[str] | None = None,
) -> Built:
    """Return the network of `setting`, in: (n, 3, 32, 32), out: (n, 10), drawn from its seed.

    It begins as the dense state `start`, if given, pruned to `sparsity`. Where layers are sparse
    only if that is faster, `sparse` names those that are, and nothing is measured. Seeds PyTorch's
    global generator. Raises UnavailableError where SparseProp is asked for and not installed.
    """
    torch.manual_seed(setting.seed)
    network = NETWORKS[setting.network]()
    if start is not None:
        network.load_state_dict(start)
    built = Built(network.to(setting.device))
    if setting.model == "masked":
        masks.cover(network)
        masks.prune_to(network, sparsity)
    elif setting.model == "sparse":
        built = _sparse(setting, network, sparsity, sparse)
    # However it was built, training draws the same numbers: those that dropout leaves out.
    torch.manual_seed(setting.seed + 1)
    return built


def sparse_paths(network: nn.Module) -> list[str]:
    """Name the layers of `network` that are sparse."""
    return [path for path, layer in network.named_modules() if isinstance(layer, SparseLayer)]


def zeroed(network: nn.Module, sparsity: float) -> nn.Module:
    """Return a dense copy with zeros in place of the smallest weights of each layer."""
    pruned = convert_model(network, PRUNED, "csr", keep_zeros=True)
    if sparsity:
        prune_to_sparsity(pruned, sparsity)
    return convert_model(pruned, SparseLayer, "dense")


def _sparse(
    setting: CifarSetting, network: nn.Module, sparsity: float, sparse: Collection[str] | None
) -> Built:
    if setting.swap == "all":
        structure = structures.named(setting.structure)
        pruned = convert_model(
            network,
            PRUNED,
            "csr",
            keep_zeros=True,
            skip=lambda _, layer: not _fits(structure, layer),
        )
        if sparsity:
            prune_to_sparsity(pruned, sparsity, structure=structure)
        return Built(pruned)
    dense = zeroed(network, sparsity)
    example = torch.randn(setting.batch, *setting.IMAGE, device=setting.device)
    if setting.swap == "sparseprop":
        return Built(_sparseprop(dense, example))
    if sparse is None:
        result = sparsify(dense, example)
        masks.keep_zeros(result.model)
        return Built(result.model, result.decisions)
    chosen = [layer for path, layer in dense.named_modules() if path in sparse]
    found = replace_modules(dense, {layer: convert(layer, "csr") for layer in chosen})
    masks.keep_zeros(found)
    return Built(found)


def _fits(structure: structures.Structure, layer: nn.Module) -> bool:
    """Whether the weight of a dense layer, as a matrix, can have the structure."""
    outputs, inputs = layer.get_parameter("weight").flatten(1).shape
    try:
        structure.check_shape((outputs, inputs))
    except ValueError:
        return False
    return True


def _sparseprop(dense: nn.Module, example: Tensor) -> nn.Module:
    """Let SparseProp swap the layers that it measures to be faster, as its users do."""
    if example.device.type != "cpu":
        raise UnavailableError("sparseprop computes on CPUs alone")
    if find_spec("sparseprop") is None:
        raise UnavailableError(
            "sparseprop is not installed: pip install pybind11 setuptools wheel && "
            "pip install --no-build-isolation sparseprop==0.1.14"
        )
    # Only where it is asked for: it is extra, and compiled.
    from sparseprop.utils import swap_modules_with_sparse

    with contextlib.redirect_stdout(io.StringIO()):
        network: nn.Module = swap_modules_with_sparse(dense, tuple(example.shape))
    return network
