"""Sparse models over several processes: DDP, FSDP of both kinds, distributed checkpoints."""

import copy
import os
import socket
import traceback

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.nn.parallel import DistributedDataParallel

import sparselayers as sl
from tests.workflows.twin import model

X = torch.randn(8, 12, generator=torch.Generator().manual_seed(0))
CPU = torch.device("cpu")


def made(seed=0):
    torch.manual_seed(seed)
    return model(12, 9, 5, seed=seed)


def trained(network, x, steps=3):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        network(x).square().mean().backward()
        optimizer.step()
    return network


def sharded(network):
    for layer in network:
        if isinstance(layer, sl.SparseLinear):
            fully_shard(layer)
    return fully_shard(network)


WRAPPED = {
    "DDP": DistributedDataParallel,
    "FSDP": lambda network: FullyShardedDataParallel(network, device_id=CPU),
    "FSDP with original parameters": lambda network: FullyShardedDataParallel(
        network, device_id=CPU, use_orig_params=True
    ),
    "FSDP2": sharded,
}


def of_two_processes_as_one(rank):
    expected = trained(made(), X)(X)
    for wrap in WRAPPED.values():
        torch.testing.assert_close(trained(wrap(made()), X[rank::2])(X), expected)


def ddp_sends_no_indices(rank):
    network = DistributedDataParallel(made())
    assert [tuple(b.shape) for b in network.buffers()] == [(), ()]
    sent = []
    network._sync_buffers = lambda: sent.extend(network.modules_buffers)
    network(X)
    assert sum(buffer.numel() for buffer in sent) == 2


def ranks_that_drew_other_connections_take_those_of_the_first(rank):
    network = DistributedDataParallel(made(seed=rank))  # as many, elsewhere
    torch.testing.assert_close(network(X), made(seed=0)(X))
    first = made(seed=0)
    for layer, expected in zip(network.module, first, strict=True):
        if hasattr(layer, "connectivity"):
            assert layer.connectivity.equals(expected.connectivity)
    torch.testing.assert_close(trained(network, X[rank::2])(X), trained(first, X)(X))


def worker(rank, port, folder):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        of_two_processes_as_one(rank)
        ddp_sends_no_indices(rank)
        ranks_that_drew_other_connections_take_those_of_the_first(rank)
        dist.barrier()
    except Exception:
        (folder / f"failed-{rank}.txt").write_text(traceback.format_exc())
        raise
    finally:
        dist.destroy_process_group()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_two_processes(tmp_path):
    mp.spawn(worker, (free_port(), tmp_path), nprocs=2)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def _one_process(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    dist.init_process_group("gloo", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


CHANGE = {
    "SET": lambda network, optimizer: sl.SET(network, optimizer, stop_after=100),
    "RigL": lambda network, optimizer: sl.RigL(network, optimizer, stop_after=100),
    "Pruner": lambda network, optimizer: sl.Pruner(
        network, optimizer, sl.Gradual(final=0.8, stop_after=6, update_every=1)
    ),
}

one_process = pytest.mark.usefixtures("_one_process")
quiet = pytest.mark.filterwarnings("ignore")  # PyTorch's own, many and changing


@quiet
@one_process
@pytest.mark.parametrize("kind", ["FSDP with original parameters", "FSDP2"])
@pytest.mark.parametrize("change", CHANGE)
def test_sharded_connections_are_not_changed(kind, change):
    network = WRAPPED[kind](made())
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="sharded over processes"):
        CHANGE[change](network, optimizer)
    layer = next(m for m in network.modules() if isinstance(m, sl.SparseLinear))
    with pytest.raises(ValueError, match="sharded over processes"):
        layer.set_connections(layer.connectivity, torch.zeros(layer.connectivity.nnz))


@quiet
@one_process
def test_a_distributed_checkpoint(tmp_path):
    pairs = []
    for seed in (0, 1):
        network = made(seed)
        optimizer = torch.optim.Adam(network.parameters())
        pairs.append((network, optimizer))
    source, others = pairs
    source[0](X).square().sum().backward()
    source[1].step()
    for (network, optimizer), way in ((source, dcp.save), (others, dcp.load)):
        states = dict(zip(("model", "optimizer"), get_state_dict(network, optimizer), strict=True))
        way(states, checkpoint_id=tmp_path)
        set_state_dict(
            network,
            optimizer,
            model_state_dict=states["model"],
            optim_state_dict=states["optimizer"],
        )
    for network, optimizer in pairs:
        optimizer.zero_grad()
        network(X).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(others[0](X), source[0](X))


@quiet
@one_process
def test_a_checkpoint_read_into_the_arrays_that_a_state_dict_shows(tmp_path):
    source, other = made(0), made(1)
    dcp.save(source.state_dict(), checkpoint_id=tmp_path)
    dcp.load(other.state_dict(), checkpoint_id=tmp_path)
    torch.testing.assert_close(other(X), source(X))


@quiet
@one_process
def test_the_checkpoint_of_a_sharded_model(tmp_path):
    source, other, whole = sharded(made(0)), sharded(made(1)), made(2)
    trained(source, X)
    dcp.save(get_model_state_dict(source), checkpoint_id=tmp_path)
    state = get_model_state_dict(other)
    dcp.load(state, checkpoint_id=tmp_path)
    set_model_state_dict(other, state)
    torch.testing.assert_close(other(X), source(X))
    full = get_model_state_dict(source, options=StateDictOptions(full_state_dict=True))
    whole.load_state_dict(copy.deepcopy(full))
    torch.testing.assert_close(whole(X), source(X))
