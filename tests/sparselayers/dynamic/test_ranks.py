"""Two processes that train one model rewire it alike."""

import os
import sys
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import sparselayers as sl
from sparselayers import structures
from sparselayers.dynamic import GSE, MEST, SET, CHTs, GraNet, MomentumGrowth, RigL

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")


def in_two_processes(tests, directory):
    mp.start_processes(_run, (tests, str(directory / "store")), nprocs=2, start_method="spawn")


def _run(rank, tests, store):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=2,
        timeout=timedelta(seconds=600),
    )
    try:
        for test in tests:
            test(rank)
    finally:
        dist.destroy_process_group()


def build(*, dynamic=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    settings = {"dynamic": dynamic, "generator": generator}
    settings |= {"update_every": 2, "stop_after": 20, "fraction": 0.3}
    return nn.Sequential(
        sl.SparseLinear(12, 10, sparsity=0.7, **settings),
        nn.ReLU(),
        sl.SparseLinear(10, 6, sparsity=0.7, **settings),
    )


def batches(count):
    generator = torch.Generator().manual_seed(7)
    return [torch.randn(8, 12, generator=generator) for _ in range(count)]


def step(model, optimizer, x):
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()


def weights(model):
    return torch.cat([layer.weight.to_dense().flatten() for layer in (model[0], model[2])])


def all_alike(rank):
    """RigL on two halves of a batch is RigL on the whole; SET draws the same on both ranks."""
    for rule in (RigL, SET):
        torch.manual_seed(rank)  # what ranks draw for themselves differs
        model = build()
        ddp = DistributedDataParallel(model)
        optimizer = torch.optim.Adam(ddp.parameters(), lr=0.01)
        rewirer = rule(ddp, optimizer, update_every=2, stop_after=20)
        initial = weights(model) != 0
        for x in batches(5):
            step(ddp, optimizer, x[rank::2])
            rewirer.step()
        both = [torch.empty_like(weights(model)) for _ in range(2)]
        dist.all_gather(both, weights(model))
        assert torch.equal(both[0], both[1])
        assert not torch.equal(both[0] != 0, initial)
        if rule is RigL:
            single = build()
            optimizer = torch.optim.Adam(single.parameters(), lr=0.01)
            rewirer = rule(single, optimizer, update_every=2, stop_after=20)
            for x in batches(5):
                step(single, optimizer, x)
                rewirer.step()
            torch.testing.assert_close(both[0], weights(single))

    dynamic, single = build(dynamic=True), build(dynamic=True)
    ddp = DistributedDataParallel(dynamic)
    optimizer = torch.optim.Adam(ddp.parameters(), lr=0.01)
    other = torch.optim.Adam(single.parameters(), lr=0.01)
    for x in batches(5):
        with ddp.no_sync():  # gradients are accumulated over two halves of each rank's share
            ddp(x[rank::4]).square().mean().backward()
        ddp(x[2 + rank :: 4]).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        (2 * single(x).square().mean()).backward()
        other.step()
        other.zero_grad()
    assert [layer.state_dict()["steps"] for layer in (dynamic[0], dynamic[2])] == [5, 5]
    torch.testing.assert_close(weights(dynamic), weights(single))


def newer_rules_alike(rank):
    """All other rules: the ranks have the same connections and weights after every rewiring."""
    gradual = sl.Gradual(initial=0.7, final=0.8, stop_after=4, update_every=2)
    for rule, settings in (
        (MEST, {}),
        (GSE, {"sampling": "bound"}),
        (GSE, {"sampling": "estimate"}),
        (MomentumGrowth, {"window": 3}),
        (CHTs, {"chain": ["module.0", "module.2"], "removal": "relative"}),
        (GraNet, {"schedule": gradual}),
    ):
        torch.manual_seed(rank)
        model = build()
        ddp = DistributedDataParallel(model)
        optimizer = torch.optim.SGD(ddp.parameters(), lr=0.05)
        rewirer = rule(ddp, optimizer, update_every=2, stop_after=20, **settings)
        initial = weights(model) != 0
        for x in batches(5):
            if rule is GraNet:
                ddp = DistributedDataParallel(model)  # whose buckets have the sizes of before
            step(ddp, optimizer, x[rank::2])
            rewirer.step()
        both = [torch.empty_like(weights(model)) for _ in range(2)]
        dist.all_gather(both, weights(model))
        assert torch.equal(both[0], both[1]), rule
        assert not torch.equal(both[0] != 0, initial), rule


def structures_alike(rank):
    """Structures too: blocks and outputs are exchanged alike, by the gradients of all ranks."""
    for name, rule in (("2x1", RigL), ("fan-in", SET)):
        structure, generator = structures.named(name), torch.Generator().manual_seed(3)
        model, single = build(), build()
        for layers in zip(model, single, strict=True):
            if isinstance(layers[0], sl.SparseLinear):
                drawn = structure.draw(layers[0].shape, 0.6, generator=generator)
                for layer in layers:
                    layer.set_connections(drawn, torch.linspace(-1, 1, drawn.nnz))
        initial = weights(model) != 0
        for net, share in ((DistributedDataParallel(model), slice(rank, None, 2)), (single, ...)):
            optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
            rewirer = rule(net, optimizer, update_every=2, stop_after=20, structure=name)
            for x in batches(5):
                step(net, optimizer, x[share])
                rewirer.step()
        both = [torch.empty_like(weights(model)) for _ in range(2)]
        dist.all_gather(both, weights(model))
        assert torch.equal(both[0], both[1])
        assert not torch.equal(both[0] != 0, initial)
        for layer in (model[0], model[2]):
            structure.check(layer.connectivity)
        if rule is RigL:
            torch.testing.assert_close(both[0], weights(single))


def differing(rank):
    """Ranks that differ are told so before anything is changed; independent ones are left alone."""
    model = build(seed=rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    rewirer = RigL(model, optimizer, update_every=1, stop_after=9, process_group=dist.group.WORLD)
    before = weights(model)
    step(model, optimizer, batches(1)[0])
    with pytest.raises(RuntimeError, match=r"layer '0': .* on rank 1 and on rank 0 differ"):
        rewirer.step()
    assert torch.equal(weights(model), before)

    lonely = build(dynamic=True, seed=rank)
    optimizer = torch.optim.SGD(lonely.parameters(), lr=0.1)
    for x in batches(3 + rank):
        step(lonely, optimizer, x)


class Choosing(nn.Module):
    """The second layer is for some ranks only, the third for none."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = nn.ModuleList(
            sl.SparseLinear(12, 12, sparsity=0.7, generator=generator) for _ in range(3)
        )

    def forward(self, x, both):
        y = self.layers[0](x)
        return y + self.layers[1](x) if both else y


def unevenly_used(rank):
    """What some rank uses is rewired on all of them, by the gradient of all of them; clipped."""
    for rule in (RigL, SET):
        model, single = Choosing(), Choosing()
        ddp = DistributedDataParallel(model, find_unused_parameters=True)
        masks = [layer.connectivity.mask() for layer in model.layers]
        pairs = []
        for net in (ddp, single):
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            settings = {"generator": torch.Generator().manual_seed(1)}
            pairs.append(
                (optimizer, rule(net, optimizer, stop_after=9, update_every=1, **settings))
            )
        x = batches(1)[0]
        ddp(x[rank::2], both=rank == 1).square().mean().backward()
        loss = sum(single(x[r::2], both=r == 1).square().mean() for r in range(2)) / 2
        loss.backward()
        for net, (optimizer, rewirer) in zip((model, single), pairs, strict=True):
            nn.utils.clip_grad_norm_(net.parameters(), 0.1)
            optimizer.step()
            rewirer.step()
        for layer, other, mask in zip(model.layers, single.layers, masks, strict=True):
            assert layer.connectivity.equals(other.connectivity)
            changed = not torch.equal(layer.connectivity.mask(), mask)
            assert changed == (layer is not model.layers[2])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="gloo and files")
def test_two_ranks(tmp_path):
    in_two_processes(
        [all_alike, newer_rules_alike, structures_alike, differing, unevenly_used], tmp_path
    )  # which begin once: that takes the longest
