"""A model that trains after its memory was shared with other processes."""

import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
import torch.multiprocessing as mp

from tests.workflows.twin import assert_same, model, twin_of


def trained(steps=3):
    """A model whose layers have been forward and backward: all that is derived has been made."""
    sparse = model(40, 30, 20)
    optimizer = torch.optim.SGD(sparse.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        sparse(torch.randn(8, 40)).square().sum().backward()
        optimizer.step()
    return sparse, optimizer


def scribble(size=200_000):
    """Take and fill the memory that was freed, so that whoever still reads it is found out."""
    for _ in range(20):
        torch.full((size,), 10**6, dtype=torch.int32)


SHARE = {
    "share_memory": lambda sparse: sparse.share_memory(),
    "the model through a queue": lambda sparse: ForkingPickler.dumps(sparse),
    "its state dict through a queue": lambda sparse: ForkingPickler.dumps(sparse.state_dict()),
    "its connections through a queue": lambda sparse: ForkingPickler.dumps(sparse[0].connectivity),
    "an ordinary pickle": lambda sparse: pickle.dumps(sparse),
}


@pytest.mark.parametrize("how", SHARE)
def test_training_goes_on(how):
    sparse, optimizer = trained()
    twin = twin_of(sparse)
    keep = SHARE[how](sparse)
    scribble()
    x = torch.randn(8, 40)
    assert_same(sparse, twin, x)
    optimizer.zero_grad()
    sparse(x).square().sum().backward()
    optimizer.step()
    assert_same(sparse, twin_of(sparse), x)
    del keep


def _trains_elsewhere(rank, sparse, x, expected):
    del rank
    torch.set_num_threads(1)
    torch.testing.assert_close(sparse(x), expected)
    sparse(x).square().sum().backward()


def test_hogwild():
    """Workers that get the model through a pipe compute what the parent does; it trains on.

    They are pickled as for a spawned process, but forked from one that has imported torch already.
    """
    sparse, optimizer = trained()
    sparse.share_memory()
    x = torch.randn(8, 40)
    arguments = (sparse, x, sparse(x).detach())
    mp.start_processes(_trains_elsewhere, arguments, nprocs=1, start_method="forkserver")
    scribble()
    optimizer.zero_grad()
    sparse(x).square().sum().backward()
    optimizer.step()
    assert_same(sparse, twin_of(sparse), x)


def test_arrays_of_connections_are_ordinary_tensors(tmp_path):
    """They go into files and pickles, and come out of them, as any tensor does."""
    sparse, _ = trained()
    arrays = {"row_ptr": sparse[0].connectivity.row_ptr, "col": sparse[0].connectivity.col}
    torch.save(arrays, tmp_path / "arrays")
    loaded = torch.load(tmp_path / "arrays", weights_only=True)
    assert all(torch.equal(loaded[name], arrays[name]) for name in arrays)
    assert torch.equal(pickle.loads(pickle.dumps(arrays["col"])), arrays["col"])
