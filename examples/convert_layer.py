"""One dense layer, pruned and made sparse, and back.

python examples/convert_layer.py
"""

import torch
from torch import nn
from torch.nn.utils import prune

import sparselayers as sl
from sparselayers.convert import convert

torch.manual_seed(0)
dense = nn.Linear(784, 512)
prune.l1_unstructured(dense, "weight", amount=0.9)  # a mask: no zero is saved yet

sparse = convert(dense, "csr")  # zeros are dropped, and the mask with them
assert isinstance(sparse, sl.SparseLinear)
print(sparse)

x = torch.randn(64, 784)
torch.testing.assert_close(sparse(x), dense(x))

held = {
    name: sum(t.numel() * t.element_size() for t in layer.state_dict().values())
    for name, layer in {"masked": dense, "sparse": sparse}.items()
}
print(f"state dict: masked {held['masked']:,} bytes, sparse {held['sparse']:,} bytes")

# It trains like any other layer: its weights are one dense vector, of those that exist.
optimizer = torch.optim.SGD(sparse.parameters(), lr=0.1)
sparse(x).square().mean().backward()
optimizer.step()
assert sparse.weights.grad.shape == (round(0.1 * 784 * 512),)

again = convert(sparse, "dense")
assert type(again) is nn.Linear
torch.testing.assert_close(again(x), sparse(x))
