"""What is timed is what the phases promise."""

import torch

from sparsebench.cases import phases


def layer():
    torch.manual_seed(0)
    return torch.nn.Linear(5, 3), torch.randn(4, 5), torch.randn(4, 3)


def test_inference_makes_no_graph():
    module, x, dy = layer()
    assert not phases.step(module, x, dy, "inference")().requires_grad


def test_gradients_are_all_computed_and_never_accumulated():
    module, x, dy = layer()
    step = phases.step(module, x, dy, "forward_backward")
    for _ in range(3):
        y = step()
    torch.testing.assert_close(y, module(x))
    torch.testing.assert_close(module.weight.grad, dy.T @ x.detach())
    torch.testing.assert_close(module.bias.grad, dy.sum(0))
    torch.testing.assert_close(x.grad, dy @ module.weight)


def test_a_training_step_moves_the_weights_against_the_gradient():
    module, x, dy = layer()
    before = module.weight.detach().clone()
    phases.step(module, x, dy, "train_step")()
    expected = before - phases.LEARNING_RATE * module.weight.grad
    torch.testing.assert_close(module.weight.detach(), expected)
    assert not torch.equal(module.weight, before)
