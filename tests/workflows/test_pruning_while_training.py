"""The ordinary loop with a pruner, as people write it: the loss of the last step stays alive."""

import torch

import sparselayers as sl
from tests.workflows.twin import assert_same, model, twin_of


def test_the_loss_is_still_there_when_the_pruner_steps():
    sparse = model(20, 30, 10, sparsity=0.1)
    optimizer = torch.optim.SGD(sparse.parameters(), lr=0.01, momentum=0.9)
    pruner = sl.Pruner(
        sparse, optimizer, sl.Gradual(final=0.8, initial=0.1, stop_after=6, update_every=1)
    )
    for _ in range(8):
        x = torch.randn(16, 20)
        loss = sparse(x).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pruner.step()
    assert abs(pruner.sparsity - 0.8) < 0.01
    assert_same(sparse, twin_of(sparse), torch.randn(4, 20))


def test_a_state_of_another_size_after_a_backward_whose_loss_is_kept():
    layer, larger = (sl.SparseLinear(12, 9, sparsity=s) for s in (0.8, 0.3))
    x = torch.randn(4, 12)
    kept = layer(x).sum()
    kept.backward()
    layer.load_state_dict(larger.state_dict())
    layer(x).sum().backward()
    larger(x).sum().backward()
    torch.testing.assert_close(layer.weights.grad, larger.weights.grad)


def test_an_assigned_state_leaves_the_old_parameter_alone():
    layer, larger = (sl.SparseLinear(12, 9, sparsity=s) for s in (0.8, 0.3))
    old, values = layer.weights, layer.weights.detach().clone()
    layer.load_state_dict(larger.state_dict(), assign=True)
    assert torch.equal(old, values)
