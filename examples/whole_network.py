"""A whole network: torchvision's ResNet18, pruned, converted, and compared layer by layer.

    python examples/whole_network.py [--sparsity 0.95] [--size 64] [--batch 8]

Weights are random, so that nothing is downloaded: load yours where it says so.
"""

import argparse
import time

import torch
import torchvision
from torch import nn
from torch.nn.utils import prune

import sparselayers as sl

arguments = argparse.ArgumentParser()
arguments.add_argument("--sparsity", type=float, default=0.95)
arguments.add_argument("--size", type=int, default=64, help="pixels, of a side")
arguments.add_argument("--batch", type=int, default=8)
asked = arguments.parse_args()

torch.manual_seed(0)
dense = torchvision.models.resnet18().eval()  # dense.load_state_dict(torch.load("yours.pt"))
for module in dense.modules():
    if isinstance(module, nn.Conv2d | nn.Linear):
        prune.l1_unstructured(module, "weight", amount=asked.sparsity)
        prune.remove(module, "weight")  # zeros are part of the weight now

sparse = sl.convert_model(dense, (nn.Conv2d, nn.Linear), "csr")
print(f"{'layer':24} {'weights':>10} {'kept':>10}")
for name, layer in sparse.named_modules():
    if hasattr(layer, "connectivity"):
        weights = layer.shape[0] * layer.shape[1]
        print(f"{name:24} {weights:10,} {layer.weights.numel():10,}")

images = torch.randn(asked.batch, 3, asked.size, asked.size)


def seconds(model: nn.Module) -> float:
    """The least of three times, after one that nobody counts."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        model(images)
        times.append(time.perf_counter() - start)
    return min(times[1:])


with torch.inference_mode():
    torch.testing.assert_close(sparse(images), dense(images), rtol=1e-3, atol=1e-4)
    print("outputs agree")
    print(f"dense {1e3 * seconds(dense):.0f} ms, sparse {1e3 * seconds(sparse):.0f} ms a batch")
# Where a layer gains nothing by it, leave it dense: sl.sparsify(dense, images) measures which.
