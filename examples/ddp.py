"""Training on several processes, with rewiring: all ranks keep the same connections.

torchrun --standalone --nproc-per-node 2 examples/ddp.py [--steps 40]
"""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import sparselayers as sl

arguments = argparse.ArgumentParser()
arguments.add_argument("--steps", type=int, default=40)
asked = arguments.parse_args()

dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
torch.set_num_threads(1)

torch.manual_seed(rank)  # other connections on every rank: those of the first are taken
network = nn.Sequential(sl.SparseLinear(32, 128, sparsity=0.9), nn.ReLU(), nn.Linear(128, 1))
model = DistributedDataParallel(network)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
rewirer = sl.RigL(model, optimizer, update_every=10, stop_after=asked.steps)

generator = torch.Generator().manual_seed(rank)  # each rank has data of its own
for step in range(asked.steps):
    x = torch.randn(32, 32, generator=generator)
    loss = nn.functional.mse_loss(model(x), x[:, :1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    rewirer.step()  # gradients are summed over the ranks, and all of them rewire alike
    if rank == 0 and step % 10 == 9:
        print(f"step {step + 1}: loss {loss.item():.4f}", flush=True)

mine = network[0].connectivity.col.long()
of_all = [torch.empty_like(mine) for _ in range(ranks)]
dist.all_gather(of_all, mine)
assert all(torch.equal(mine, other) for other in of_all)
if rank == 0:
    print(f"{ranks} ranks, the same {mine.numel()} connections", flush=True)
dist.destroy_process_group()
