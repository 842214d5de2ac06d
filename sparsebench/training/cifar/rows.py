"""The rows of both experiments: a dense network, and what is made of it by pruning."""

from __future__ import annotations

from dataclasses import replace

from sparsebench.training.cifar.schedule import stages
from sparsebench.training.setting import Setting

# Sized so that `make cifar` ends within 40 minutes on two cores; --images and --epochs give more.
_VGG = Setting(
    experiment="cifar-vgg",
    row="dense",
    model="dense",
    network="vgg11_bn",
    sparsity=0.0,
    dataset="cifar10",
    images=4000,
    epochs=8,
    batch=50,
    lr=0.01,
    weight_decay=5e-4,
    schedule="cosine",
)
_RESNET = replace(_VGG, experiment="cifar-resnet", network="resnet18", epochs=5)


def vgg() -> list[Setting]:
    """Return the dense VGG11, and the two ways to prune it to 95% while it goes on to train."""
    pruned = replace(
        _VGG, model="sparse", start="dense", pruning="gradual", sparsity=0.95, epochs=8,
        schedule="constant", lr=0.005,
    )  # fmt: skip
    return [
        _VGG,
        replace(pruned, row="masks of torch.nn.utils.prune", model="masked"),
        replace(pruned, row="sparse storage", model="sparse"),
    ]


def vgg_stages(settings: list[Setting]) -> list[Setting]:
    """Return what is timed: of those pruned gradually, every sparsity that they go through."""
    timed = []
    for setting in settings:
        if setting.pruning == "gradual":
            timed += [
                replace(setting, row=f"{setting.row}, {level:.1%}", pruning="once", sparsity=level)
                for level in dict.fromkeys(round(level, 3) for level in stages(setting))
                # Masks take the same time whatever they mask.
                if setting.model == "sparse" or level == setting.sparsity
            ]
        else:
            timed.append(setting)
    return timed


def resnet() -> list[Setting]:
    """Return the dense ResNet18, and two ways to fine-tune it at 95%, from the same state."""
    pruned = replace(
        _RESNET,
        model="sparse",
        start="dense",
        pruning="once",
        sparsity=0.95,
        epochs=3,
    )
    return [
        _RESNET,
        replace(pruned, row="masks of torch.nn.utils.prune", model="masked"),
        replace(pruned, row="sparsify", model="sparse", swap="faster"),
    ]


def resnet_timed(settings: list[Setting]) -> list[Setting]:
    """Return the rows, and beside `sparsify` what SparseProp makes of the same network."""
    return [
        *settings,
        *(
            replace(setting, row="SparseProp", swap="sparseprop")
            for setting in settings
            if setting.swap == "faster" and setting.device == "cpu"
        ),
    ]
