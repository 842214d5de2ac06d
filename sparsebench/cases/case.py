"""What one measurement is."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

Operation = Literal["linear", "conv2d", "product"]
Phase = Literal["inference", "forward_backward", "train_step"]

# The fields that only a convolution has. At their defaults it is a linear layer: a window of one
# pixel over an image of one.
DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
WINDOW = ("kernel", "stride", "padding", "groups", "image")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One implementation on one problem. Its `key` names it for ever.

    Sizes count features and samples; `threads` is the number of CPU threads the measurement sets;
    `seed` fixes the connections, the weights and the inputs. In the operation conv2d the features
    are channels, and a window of `kernel` × `kernel` pixels moves by `stride` over square images
    of `image` × `image`, with `padding` zeros around them. `sparsity` is that of the matrix
    (out_features, in_features / groups · kernel²).

    A `product` is y = x Wᵀ alone, without bias, on operands laid out for it: x and y lie feature by
    feature. It is measured in inference.

    `topology` says how connections are drawn, or is `file:NAME@DIGEST` for those of a matrix in a
    file (see `cases.weights`). `path` is where that file is on this machine, and no part of what
    the case is.

    Raises ValueError where no window fits into the image, or the groups do not divide the features,
    and for a product in another phase.
    """

    implementation: str
    operation: Operation = "linear"
    in_features: int
    out_features: int
    sparsity: float
    topology: str = "random"
    batch: int
    device: str = "cpu"
    dtype: str = "float32"
    phase: Phase
    threads: int
    seed: int = 0
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    image: int = 1
    path: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.operation == "product" and self.phase != "inference":
            raise ValueError(f"phase = {self.phase}: a product is measured in inference alone")
        if self.groups < 1:
            raise ValueError(f"groups = {self.groups}: must be at least 1")
        for name in ("in_features", "out_features"):
            if getattr(self, name) % self.groups:
                raise ValueError(
                    f"{name} = {getattr(self, name)} is not divisible by groups = {self.groups}"
                )
        if self.image + 2 * self.padding < self.kernel:
            raise ValueError(
                f"kernel = {self.kernel} does not fit into image = {self.image} "
                f"with padding = {self.padding}"
            )

    @property
    def described(self) -> dict[str, Any]:
        """The fields by name, in the order of their definition; a window's only where it is one."""
        shown = _NAMES if self.operation == "conv2d" else _LINEAR
        return {name: getattr(self, name) for name in shown}

    @cached_property
    def key(self) -> str:
        """The fields as `name=value`."""
        return " ".join(f"{name}={value}" for name, value in self.described.items())

    @cached_property
    def problem(self) -> tuple[Any, ...]:
        """What a ratio's two sides have in common: every field but the implementation."""
        return tuple(getattr(self, name) for name in _PROBLEM)

    @cached_property
    def contest(self) -> tuple[Any, ...]:
        """What cases that are measured in turns have in common: their problem but for the threads.

        How many times as fast more threads are is a ratio too.
        """
        return tuple(0 if name == "threads" else getattr(self, name) for name in _PROBLEM)

    @property
    def columns(self) -> int:
        """What one output could be connected to: the columns of the weight matrix."""
        return self.in_features // self.groups * self.kernel**2

    @property
    def weights(self) -> int:
        """The number of weights of the dense layer."""
        return self.columns * self.out_features

    @property
    def nnz(self) -> int:
        """The number of connections."""
        return round((1.0 - self.sparsity) * self.weights)

    @property
    def windows(self) -> int:
        """How often each weight is used on a sample: the pixels of an output."""
        return ((self.image + 2 * self.padding - self.kernel) // self.stride + 1) ** 2

    @property
    def inputs(self) -> int:
        """The numbers of one sample of the input."""
        return self.in_features * self.image**2

    @property
    def outputs(self) -> int:
        """The numbers of one sample of the output."""
        return self.out_features * self.windows

    @property
    def size(self) -> str:
        """The layer in short: 512, 784→2000, or 64→128 3×3/2 32² with stride 2, images of 32²."""
        if self.operation != "conv2d":
            same = self.in_features == self.out_features
            return str(self.in_features) if same else f"{self.in_features}→{self.out_features}"
        step = "" if self.stride == 1 else f"/{self.stride}"
        text = f"{self.in_features}→{self.out_features} {self.kernel}×{self.kernel}{step}"
        text += f" {self.image}²"
        if self.padding != same_padding(self.kernel):
            text += f" pad {self.padding}"
        return text if self.groups == 1 else f"{text} {self.groups} groups"


_NAMES = tuple(f.name for f in fields(Case) if f.compare)
_LINEAR = tuple(name for name in _NAMES if name not in WINDOW)
_PROBLEM = tuple(name for name in _NAMES if name != "implementation")


def same_padding(kernel: int) -> int:
    """Return the padding with which a stride of 1 leaves the size of an image as it is."""
    return (kernel - 1) // 2
