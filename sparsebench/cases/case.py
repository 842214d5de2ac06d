"""What one measurement is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from operator import itemgetter
from typing import Any, Literal

from sparsebench.lazy import lazy

Operation = Literal["linear", "conv2d", "product", "k_winners"]
Phase = Literal["inference", "forward_backward", "train_step", "rewiring", "construction"]
Gradients = Literal["fresh", "kept"]
Cache = Literal["warm", "cold"]

# The fields that only a convolution has. At their defaults it is a linear layer: a window of one
# pixel over an image of one.
DTYPE_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}
WINDOW = ("kernel", "stride", "padding", "groups", "image")
# What a case says only where it is not as it always was: keys from before these fields stay.
USUAL: dict[str, Any] = {"input_sparsity": 0.0, "gradients": "fresh", "cache": "warm"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One implementation on one problem. Its `key` names it for ever.

    Sizes count features and samples; `threads` is the number of CPU threads the measurement sets;
    `seed` fixes the connections, the weights and the inputs. In the operation conv2d the features
    are channels, and a window of `kernel` × `kernel` pixels moves by `stride` over square images
    of `image` × `image`, with `padding` zeros around them. `sparsity` is that of the matrix
    (out_features, in_features / groups · kernel²).

    `gradients` says where a training step on a CPU writes its gradients: to memory that is fresh in
    every call, where they are large, as the C library has it by itself, or to that of the call
    before, which was kept. `cache` says where a call finds the weights: in the caches, as the call
    before left them, or in memory, as in a model whose other layers have been called since. On a
    GPU both times are taken, and memory is always kept.

    A `product` is y = x Wᵀ alone, without bias, on operands laid out for it: x and y lie feature by
    feature. It is measured in inference. A `rewiring` is a training step of a linear layer after
    which connections are dropped and others grow, with all that this makes necessary; a
    `construction` makes such a layer, its connections included.

    `k_winners` is an activation, without weights: of `in_features` = `out_features` units, with an
    `image` of channels on square images, the share `sparsity` is set to zero. `input_sparsity` is
    the share of the zeros in each sample of a linear layer's input, as k-winners leave them.

    `topology` says how connections are drawn, or is `file:NAME@DIGEST` for those of a matrix in a
    file (see `cases.weights`). `path` is where that file is on this machine, and no part of what
    the case is.

    Raises ValueError where no window fits into the image, or the groups do not divide the features,
    for a product in another phase, a rewiring or construction of no linear layer, k-winners whose
    units are not as many before and after or that are to be trained, zeros in what is no linear
    layer's input, and where there are no gradients to keep.
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
    input_sparsity: float = 0.0
    gradients: Gradients = "fresh"
    cache: Cache = "warm"
    path: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.operation == "product" and self.phase != "inference":
            raise ValueError(f"phase = {self.phase}: a product is measured in inference alone")
        if self.groups < 1:
            raise ValueError(f"groups = {self.groups}: must be at least 1")
        if self.phase in ("rewiring", "construction") and self.operation != "linear":
            what = {"rewiring": "rewired", "construction": "constructed"}[self.phase]
            raise ValueError(f"operation = {self.operation}: only linear layers are {what}")
        if self.input_sparsity and self.operation != "linear":
            raise ValueError(
                f"operation = {self.operation}: only linear layers have zeros as input"
            )
        if self.operation == "k_winners":
            self._check_units()
        if self.gradients == "kept" and self.phase in ("inference", "construction"):
            raise ValueError(f"gradients = kept: {self.phase} has none")
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

    def _check_units(self) -> None:
        if self.in_features != self.out_features:
            raise ValueError(
                f"out_features = {self.out_features}: k-winners have as many as in_features = "
                f"{self.in_features}"
            )
        if self.phase not in ("inference", "forward_backward"):
            raise ValueError(f"phase = {self.phase}: k-winners have no weights to train")

    @property
    def described(self) -> dict[str, Any]:
        """The fields by name, in the order of their definition.

        A window's only where it is one; those of USUAL only where they are something else.
        """
        values = vars(self)
        return {name: values[name] for name in self._shown()}

    def _shown(self) -> tuple[str, ...]:
        if (found := _USUALLY(vars(self))) == _USUAL:
            return _shown(self.operation)
        unusual = (name for name, value in zip(USUAL, found, strict=True) if value != USUAL[name])
        return _shown(self.operation, *unusual)

    @lazy
    def key(self) -> str:
        """The fields as `name=value`."""
        template, values = _template(self._shown())
        return template % values(vars(self))

    @property
    def apart(self) -> tuple[Any, ...]:
        """What the key says, as it is: names of fields, and their values."""
        names = self._shown()
        return names, _template(names)[1](vars(self))

    @lazy
    def problem(self) -> tuple[Any, ...]:
        """What a ratio's two sides have in common: every field but the implementation.

        It seeds the resampling: without what is as usual it is what it was before those fields.
        """
        return self._in_common(self.threads)

    @lazy
    def contest(self) -> tuple[Any, ...]:
        """What cases that are measured in turns have in common: their problem but for the threads.

        How many times as fast more threads are is a ratio too.
        """
        return self._in_common(0)

    def _in_common(self, threads: int) -> tuple[Any, ...]:
        # Of a hundred thousand cases: a tuple at once, not field by field.
        values = vars(self)
        first, last = _BEFORE_THREADS(values), _AFTER_THREADS(values)
        if (found := _USUALLY(values)) == _USUAL:
            return *first, threads, *last
        unusual = [v for v, usual in zip(found, _USUAL, strict=True) if v != usual]
        return *first, threads, *last, *unusual

    @lazy
    def columns(self) -> int:
        """What one output could be connected to: the columns of the weight matrix."""
        return self.in_features // self.groups * self.kernel**2

    @lazy
    def weights(self) -> int:
        """The number of weights of the dense layer; of an activation, of its units."""
        if self.operation == "k_winners":
            return self.in_features
        return self.columns * self.out_features

    @lazy
    def nnz(self) -> int:
        """The number of connections; of an activation, of winners among the units of a pixel."""
        return round((1.0 - self.sparsity) * self.weights)

    @lazy
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
            text = str(self.in_features) if same else f"{self.in_features}→{self.out_features}"
            text += f" {self.image}²" if self.image > 1 else ""
            zeros = f", {100 * self.input_sparsity:.4g}% zeros in"
            return text + zeros if self.input_sparsity else text
        step = "" if self.stride == 1 else f"/{self.stride}"
        text = f"{self.in_features}→{self.out_features} {self.kernel}×{self.kernel}{step}"
        text += f" {self.image}²"
        if self.padding != same_padding(self.kernel):
            text += f" pad {self.padding}"
        return text if self.groups == 1 else f"{text} {self.groups} groups"


_NAMES = tuple(f.name for f in fields(Case) if f.compare)
_LINEAR = tuple(name for name in _NAMES if name not in WINDOW)
_SHOWN = {
    "conv2d": _NAMES,
    "k_winners": tuple(name for name in _NAMES if name not in WINDOW or name == "image"),
}


@cache
def _shown(operation: str, *unusual: str) -> tuple[str, ...]:
    shown = _SHOWN.get(operation, _LINEAR)
    return tuple(name for name in shown if name not in USUAL or name in unusual)


@cache
def _template(names: tuple[str, ...]) -> tuple[str, Callable[[dict[str, Any]], tuple[Any, ...]]]:
    """Return a template of what `names` are, and what takes those values from all."""
    return " ".join(f"{name}=%s" for name in names), itemgetter(*names)


_USUALLY, _USUAL = itemgetter(*USUAL), tuple(USUAL.values())
_PROBLEM = tuple(name for name in _NAMES if name != "implementation" and name not in USUAL)
_THREADS = _PROBLEM.index("threads")
_BEFORE_THREADS = itemgetter(*_PROBLEM[:_THREADS])
_AFTER_THREADS = itemgetter(*_PROBLEM[_THREADS + 1 :])


def same_padding(kernel: int) -> int:
    """Return the padding with which a stride of 1 leaves the size of an image as it is."""
    return (kernel - 1) // 2
