"""What pruning makes of a whole model: its memory in every format, and the time to evaluate it."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from sparsebench.errors import InputError
from sparsebench.measuring import machine
from sparsebench.training import datasets, experiment
from sparsebench.training.cifar import networks, schedule
from sparsebench.training.cifar.format_records import FILE_NAME, FormatsRecord, FormatsStore, load
from sparsebench.training.datasets import Dataset
from sparsebench.training.evaluation import TEST_BATCH, accuracy
from sparsebench.training.settings import CifarSetting
from sparselayers import accelerator, sizes
from sparselayers.convert import convert_model

SPARSITIES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
SAMPLES = 5


class Formats:
    """The report as an experiment; it prunes the network that `cifar-vgg` has trained beside it."""

    question = "what does a pruned VGG11 take, in memory and in time, dense, as COO, as CSR?"

    def run(
        self,
        folder: Path,
        console: Console,
        *,
        seed: int,
        device: str,
        threads: int,
        data_dir: Path | None = None,
    ) -> list[FormatsRecord]:
        """Measure every sparsity that has no record in `folder` yet, and append its record."""
        torch.set_num_threads(threads)
        try:
            loaded = datasets.load(datasets.CIFAR10, data_dir=data_dir)
        except (ValueError, FileNotFoundError) as error:
            raise InputError(str(error)) from error
        assert isinstance(loaded, Dataset)
        dense, origin = trained(folder.parent / "cifar-vgg", loaded, seed)
        mine = machine.fingerprint()
        made = []
        known = {record.identity for record in load(folder / FILE_NAME)}
        with FormatsStore(folder) as records, console.status("measuring the pruned models"):
            for sparsity in SPARSITIES:
                blank = FormatsRecord(
                    network="vgg11_bn", sparsity=sparsity, accuracy=None, test_images=0, images=0,
                    held={}, seconds={}, origin=origin, device=device, threads=threads,
                    started=datetime.now(UTC).isoformat(timespec="seconds"), machine=mine,
                )  # fmt: skip
                if blank.identity in known:
                    continue
                found = measure(dense, sparsity, loaded.to(device), device)
                made.append(blank.model_copy(update=found))
                if not origin:
                    made[-1] = made[-1].model_copy(update={"accuracy": None})
                records.append(made[-1])
        return made


def trained(folder: Path, loaded: Dataset, seed: int) -> tuple[nn.Module, str]:
    """Return the dense network that was trained in `folder`, and its key; or one as it is drawn."""
    dense = next(row for row in experiment.shipped("cifar-vgg").rows if row.model == "dense")
    assert isinstance(dense, CifarSetting)
    setting = replace(dense, dataset=loaded.name, seed=seed)
    path = schedule.trained_path(folder, setting)
    if not path.exists():
        return networks.build(setting).network, ""
    found = schedule.start_of(folder, replace(setting, start=setting.row))
    assert found is not None
    return networks.build(setting, start=found.state).network, found.key


def measure(dense: nn.Module, sparsity: float, loaded: Dataset, device: str) -> dict[str, Any]:
    """Prune each layer of `dense` to `sparsity`, and return what a record says of it."""
    pruned = networks.zeroed(dense, sparsity).to(device).eval()
    x = loaded.test_images[:TEST_BATCH]
    parts = variants(pruned)
    with torch.no_grad():
        inner = pruned.get_submodule("features")(x).flatten(1)
        inputs = {"features": x, "classifier": inner}
        calls = {
            name: _call(part, inputs[name.partition(" ")[0]], device)
            for name, part in parts.items()
        }
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for number in range(SAMPLES + 1):  # the first warms up
            for name, call in calls.items():
                taken = call()
                if number:
                    seconds[name].append(taken)
    return {
        "accuracy": accuracy(pruned, loaded),
        "test_images": len(loaded.test_labels),
        "images": len(x),
        "held": {name: held(part) for name, part in parts.items()},
        "seconds": seconds,
    }


def variants(pruned: nn.Module) -> dict[str, nn.Module]:
    """Return both parts of a network with zeros, in every format."""
    features, classifier = (pruned.get_submodule(name) for name in ("features", "classifier"))
    made = {
        "features dense": features,
        "features sparse": convert_model(features, networks.PRUNED, "csr"),
        "classifier dense": classifier,
        "classifier sparse": convert_model(classifier, networks.PRUNED, "csr"),
    }
    for layout in ("coo", "csr"):
        copied = copy.deepcopy(classifier)
        for path, layer in classifier.named_children():
            if isinstance(layer, nn.Linear):
                copied.set_submodule(path, _TorchSparse(layer, layout))
        made[f"classifier {layout}"] = copied
    return {name: part.eval() for name, part in made.items()}


def held(part: nn.Module) -> int:
    """Return the bytes of everything that a part of a network keeps."""
    return sum(
        inner.numel() * inner.element_size()
        for tensor in sizes.held(part)
        for inner in _inner(tensor)
    )


class _TorchSparse(nn.Module):
    """A linear layer whose weight is one of PyTorch's sparse tensors, for inference."""

    def __init__(self, layer: nn.Linear, layout: str) -> None:
        super().__init__()
        weight = layer.weight.detach()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
            sparse = weight.to_sparse() if layout == "coo" else weight.to_sparse_csr()
        self.register_buffer("weight", sparse)
        self.register_buffer("bias", layer.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Return x Wᵀ + b, (n, out)."""
        weight, bias = self.get_buffer("weight"), self.get_buffer("bias")
        return (weight @ x.t()).t() + bias


def _call(part: nn.Module, x: Tensor, device: str) -> Callable[[], float]:
    def call() -> float:
        accelerator.synchronize(device)
        start = time.perf_counter()
        part(x)
        accelerator.synchronize(device)
        return time.perf_counter() - start

    return call


def _inner(tensor: Tensor) -> tuple[Tensor, ...]:
    """The dense tensors that a tensor consists of."""
    if tensor.layout == torch.sparse_coo:
        tensor = tensor.coalesce()
        return tensor.indices(), tensor.values()
    if tensor.layout == torch.sparse_csr:
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return (tensor,)
