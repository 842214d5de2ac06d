"""What a competitor is: a way to build the layer of a problem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import ClassVar, Literal

from torch import Tensor, nn

from sparsebench.cases import weights
from sparsebench.cases.case import DTYPE_BYTES, Case
from sparsebench.cases.problem import Problem


class Implementation(ABC):
    """Builds a module that maps (batch, in) to (batch, out) with the weights of a problem.

    Of a convolution, whose `operations` it then names, (batch, in, height, width) to (batch, out,
    height', width'): a problem with a `geometry`.

    A new one overrides `build`, and of the rest what differs from the defaults: they fit a module
    that keeps the weights that exist in a parameter `weights` (nnz,), in the order of the
    problem's connectivity, and the bias in `bias` (out,).

    One that stands on another library names its `modules`, imports them in `build` alone, and is
    unavailable where they are missing; `install` is the command that brings them.

    Every implementation computes all gradients of a training step: of the input, of the weights
    and of the bias. Where it cannot, `trains` is False and it is measured in inference alone.

    One that names the operation "product" overrides `product` too; "k_winners", `activation`, and
    `boost` where units compete with others than their own values. One whose connections change
    while it trains says how they `grow`, builds a module that is `phases.Rewired`, and overrides
    `now`. One whose making is measured overrides `construction` and `now`.
    """

    name: ClassVar[str]
    operations: ClassVar[tuple[str, ...]] = ("linear",)
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    dtypes: ClassVar[tuple[str, ...]] = ("float64", "float32", "float16", "bfloat16")
    # The type it multiplies in, where that is another than the case's: how exact it has to be.
    precision: ClassVar[str] = ""
    trains: ClassVar[bool] = True
    # Whether it stands for a dense layer, and so is measured where nobody names it.
    stands_in: ClassVar[bool] = True
    # What its activation computes.
    activates: ClassVar[Literal["k_winners", "relu"]] = "k_winners"
    # Where connections grow in a rewiring: at the largest gradients, or anywhere; "" nowhere.
    grow: ClassVar[Literal["", "gradient", "anywhere"]] = ""
    regrows: ClassVar[bool] = False  # whether what was just dropped may grow again at once
    modules: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = ""
    # Packages of this project that are part of it: a change of their sources makes it another.
    stands_on: ClassVar[tuple[str, ...]] = ()
    # A rough rate, and seconds to import and build: for telling how long a sweep takes.
    gflops: ClassVar[float] = 5.0
    setup_s: ClassVar[float] = 0.0

    def unavailable(self) -> str | None:
        """Say what is missing on this machine and the command that installs it; None if nothing."""
        packages = dict.fromkeys(name.partition(".")[0] for name in self.modules)
        if absent := [name for name in packages if find_spec(name) is None]:
            return f"{', '.join(absent)} not installed; install with: {self.install}"
        return None

    def load(self) -> None:
        """Import `modules`, so that what they occupy is not taken for the module's own memory."""
        for name in self.modules:
            import_module(name)

    def unsupported(self, case: Case) -> str | None:
        """Say why `case` is beyond this implementation; None if it is not."""
        for name, value, allowed in (
            ("operation", case.operation, self.operations),
            ("device", case.device.partition(":")[0], self.devices),
            ("dtype", case.dtype, self.dtypes),
        ):
            if value not in allowed:
                return f"{self.name} does not support {name} {value} (only {', '.join(allowed)})"
        if case.phase != "inference" and not self.trains:
            return f"{self.name} has no backward pass"
        if case.phase == "rewiring" and not self.grow:
            return f"{self.name} keeps its connections: there is no rewiring"
        # One that inherits it is made otherwise.
        if case.phase == "construction" and "construction" not in type(self).__dict__:
            return f"{self.name} has no construction that is measured"
        if case.phase == "construction" and weights.matrix_name(case.topology):
            return "connections from a file are read, and not constructed"
        return None

    def of(self, case: Case) -> Implementation:
        """Return what measures `case`: itself, or its product or activation alone."""
        wrapped = {"product": _Product, "k_winners": _Activation}.get(case.operation)
        return wrapped(self) if wrapped else self

    def flops(self, case: Case) -> float:
        """Return the floating point operations of one product: two for each use of a weight."""
        return 2.0 * case.batch * case.windows * case.nnz

    def bytes_needed(self, case: Case) -> int:
        """Return about how much memory checking and measuring `case` takes, in bytes.

        A case that needs more than the machine has free is refused before anything is allocated.
        The default counts, for each weight, its value, gradient, and two sets of indices, and the
        oracle's double precision.
        """
        per_weight = 4 * DTYPE_BYTES[case.dtype] + 32
        activations = 4 * case.batch * (case.inputs + case.outputs)
        return case.nnz * per_weight + activations * DTYPE_BYTES[case.dtype]

    @abstractmethod
    def build(self, problem: Problem) -> nn.Module:
        """Return the module, with copies of the problem's `values` and `bias` as its parameters.

        The problem's tensors are on the case's device and of its type.
        """

    def product(self, problem: Problem) -> nn.Module:
        """Return a module that computes y = x Wᵀ alone: no bias, nothing that trains.

        The problem's x, (batch, in), lies feature by feature: `x.t()` is contiguous; and so does
        the y, (batch, out), that it returns.
        """
        raise NotImplementedError(f"{self.name} names no operation product")

    def activation(self, problem: Problem) -> nn.Module:
        """Return a module that lets the `winners` of the problem's units through, and no others.

        Of images all units of a sample compete, whatever their channel. It trains, and counts who
        wins, unless the problem's phase is inference.
        """
        raise NotImplementedError(f"{self.name} names no operation k_winners")

    def boost(self, module: nn.Module) -> Tensor | None:
        """Return what units, or channels, are multiplied by to compete; None where by nothing."""
        del module
        return None

    def values_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Return the gradient of the weights that exist, (nnz,), in the problem's order."""
        del problem
        return gradient(module, "weights")

    def bias_gradient(self, module: nn.Module, problem: Problem) -> Tensor:
        """Return the gradient of the bias, (out,)."""
        del problem
        return gradient(module, "bias")

    def forget_absent(self, module: nn.Module, problem: Problem) -> None:
        """Set weights to zero that are not the problem's, and that an optimizer's step has moved.

        Nothing to do where only the problem's weights are trained.
        """
        del module, problem

    def now(self, module: nn.Module, problem: Problem) -> Problem:
        """Return `problem` with the connections, values and bias that `module` has by now."""
        del module
        return problem

    def construction(self, case: Case) -> Callable[[], nn.Module]:
        """Return what makes a layer of `case` each time, its connections and numbers included.

        What a user who makes one has before is prepared here: `cases.topologies.ready` does so.
        """
        raise NotImplementedError(f"{self.name} names no phase construction")


class _Part(Implementation):
    """A part of another implementation, that is measured by itself."""

    def __init__(self, whole: Implementation) -> None:
        self._whole = whole

    def unsupported(self, case: Case) -> str | None:
        """Say why `case` is beyond the other one; None if it is not."""
        return self._whole.unsupported(case)

    def load(self) -> None:
        """Import what the other one needs."""
        self._whole.load()


class _Product(_Part):
    """The product of another implementation: nothing of it trains."""

    trains = False

    def build(self, problem: Problem) -> nn.Module:
        """Return the module of the product."""
        return self._whole.product(problem)


class _Activation(_Part):
    """The activation of another implementation."""

    def __init__(self, whole: Implementation) -> None:
        super().__init__(whole)
        self.activates = whole.activates  # type: ignore[misc]  # that of the one it is a part of

    def build(self, problem: Problem) -> nn.Module:
        """Return the module of the activation."""
        return self._whole.activation(problem)

    def boost(self, module: nn.Module) -> Tensor | None:
        """Return what its units compete with."""
        return self._whole.boost(module)


class Missing(Implementation):
    """A competitor of another distribution that cannot be used; it says why."""

    trains = False

    def __init__(self, name: str, why: str) -> None:
        self.name, self._why = name, why  # type: ignore[misc]  # known by its entry point alone

    def unavailable(self) -> str | None:
        """Say why it cannot be used."""
        return self._why

    def build(self, problem: Problem) -> nn.Module:
        """Raise RuntimeError: there is nothing to build."""
        raise RuntimeError(self._why)


def gradient(module: nn.Module, name: str) -> Tensor:
    """Return the gradient of the parameter `name`. Raises RuntimeError if there is none."""
    found = module.get_parameter(name).grad
    if found is None:
        raise RuntimeError(f"the backward pass left no gradient in {name}")
    return found
