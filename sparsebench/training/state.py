"""What a run is made of, and what changes while it trains: it can be saved and restored."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsebench.training import at_start, checkpoint, mlp
from sparsebench.training.cifar import networks
from sparsebench.training.cifar.schedule import Trained, make_pruner, stages
from sparsebench.training.processes import ALONE, Processes
from sparsebench.training.records import Epoch, Layer
from sparsebench.training.rewiring import Rewirer, make_rewirer
from sparsebench.training.settings import CifarSetting, GPTSetting, MLPSetting, Setting
from sparsebench.training.text import network as gpt
from sparselayers import parameter_groups
from sparselayers.convert import Decision

# Where PyTorch has optimizers that read and write everything once.
_FUSED = ("cpu", "cuda")
_SECOND_BETA = 0.95  # as GPT-3 has it


@dataclass
class Progressing:
    """A network and all that changes while it trains; `model` is the network in all processes."""

    setting: Setting
    processes: Processes
    network: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    rewirer: Rewirer
    layers: list[Layer] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    resumed: int = 0

    @classmethod
    def start(
        cls,
        setting: Setting,
        processes: Processes = ALONE,
        *,
        steps_per_epoch: int = 1,
        samples: tuple[Tensor, Tensor] | None = None,
        origin: Trained | None = None,
        sparse: list[str] | None = None,
    ) -> Progressing:
        """Build what `setting` asks for.

        `samples` are images and labels, for connections that are chosen by the data.
        A network of CIFAR-10 begins as the dense network `origin`; `sparse` are the layers that
        were found to be faster when the run that goes on was begun.
        """
        torch.set_num_threads(setting.threads)
        built = _build(setting, samples, origin, sparse)
        network = built.network
        model = processes.parallel(network)
        optimizer = _optimizer(setting, network)
        assert isinstance(setting, MLPSetting | CifarSetting | GPTSetting)
        if isinstance(setting, CifarSetting) and setting.rewiring == "none":
            rewirer = make_pruner(setting, network, optimizer, steps_per_epoch)
        else:
            rewirer = make_rewirer(setting, network, optimizer, processes.ranks)
        layers = list(map(_layer_of, built.decisions))
        return cls(setting, processes, network, model, optimizer, rewirer, layers)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one step on this process's part of a batch; return its loss, detached.

        Labels have one dimension less than the network's output; the loss is the mean over all.
        """
        loss = F.cross_entropy(self.model(images).flatten(0, -2), labels.flatten())
        # As `zero_grad` does, which tells profilers too: 3% of a step of 784 – 2000 – 10 at 90%.
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.rewirer.step()
        return loss.detach()

    def save(self, path: Path) -> None:
        """Write a checkpoint; the first process does, for all."""
        if not self.processes.first:
            return
        checkpoint.save(
            path,
            self.setting,
            {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "rewirer": self.rewirer.state_dict(),
                "epochs": [epoch.model_dump() for epoch in self.epochs],
                "layers": [layer.model_dump() for layer in self.layers],
                "sparse": networks.sparse_paths(self.network),
                "resumed": self.resumed,
            },
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the state of a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.rewirer.load_state_dict(state["rewirer"])
        self.epochs = [Epoch(**epoch) for epoch in state["epochs"]]
        self.layers = [Layer(**layer) for layer in state["layers"]]
        self.resumed = state["resumed"] + 1


def _optimizer(setting: Setting, network: nn.Module) -> torch.optim.Optimizer:
    """Return SGD for images, AdamW for text; there vectors, as biases are, do not decay."""
    fused = torch.device(setting.device).type in _FUSED
    if isinstance(setting, GPTSetting):
        groups = parameter_groups(network, weight_decay=setting.weight_decay)
        betas = (setting.momentum, _SECOND_BETA)
        return torch.optim.AdamW(groups, lr=setting.lr, betas=betas, fused=fused)
    return torch.optim.SGD(
        network.parameters(),
        lr=setting.lr,
        momentum=setting.momentum,
        nesterov=setting.nesterov,
        weight_decay=setting.weight_decay,
        fused=fused,
    )


def _build(
    setting: Setting,
    samples: tuple[Tensor, Tensor] | None,
    origin: Trained | None,
    sparse: list[str] | None,
) -> networks.Built:
    if isinstance(setting, MLPSetting):
        network = mlp.build(setting, None if samples is None else samples[0])
        at_start.prune(setting, network, samples)
        return networks.Built(network)
    if isinstance(setting, GPTSetting):
        return networks.Built(gpt.build(setting))
    assert isinstance(setting, CifarSetting)
    return networks.build(
        setting,
        sparsity=stages(setting)[0],
        start=None if origin is None else origin.state,
        sparse=sparse,
    )


def _layer_of(decision: Decision) -> Layer:
    """Return what is recorded of a layer that was measured."""
    return Layer(
        path=decision.path,
        shape=list(decision.shape),
        input_shape=list(decision.input_shape),
        sparsity=decision.sparsity,
        dense_s=decision.times.first,
        sparse_s=decision.times.second,
        chosen=decision.chosen,
        bytes_saved=decision.bytes_saved,
    )
