"""Every layer under DistributedDataParallel: two processes, gloo."""

import os
import socket
import traceback

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from tests.sparselayers.zoo import LAYERS


def model_of(member):
    """The layer, with a parameter before it in any case."""
    return torch.nn.Sequential(torch.nn.LayerNorm(member.shape[-1]), member.build())


def train(model, inputs, steps=3):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()


def worker(rank, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        for member in LAYERS:
            torch.manual_seed(0)  # the ranks begin with the same connections
            alone = model_of(member)
            torch.manual_seed(rank)
            for parameter in alone.parameters():  # and with different weights
                torch.nn.init.normal_(parameter)
            model = DistributedDataParallel(alone)
            if rank == 0:
                torch.save(model.module.state_dict(), folder / f"{member}-before.pt")
            dist.barrier()
            train(model, member.input(8)[rank::2])
            torch.save(model.module.state_dict(), folder / f"{member}-{rank}.pt")
    except Exception:
        (folder / f"failed-{rank}.txt").write_text(traceback.format_exc())
        raise
    finally:
        dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(worker, (port, tmp_path), nprocs=2)
    for member in LAYERS:
        before, first, second = (
            torch.load(tmp_path / f"{member}-{which}.pt") for which in ("before", 0, 1)
        )
        for name in first:
            assert torch.equal(first[name], second[name]), (member, name)
        alone = model_of(member)
        alone.load_state_dict(before)
        train(alone, member.input(8))
        torch.testing.assert_close(alone.state_dict(), first)
