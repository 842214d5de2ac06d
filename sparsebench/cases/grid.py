"""Grid: the layers that a table of a sweep asks for, drawn or from files."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    model_validator,
)

from sparsebench.cases import names as known
from sparsebench.cases import weights
from sparsebench.cases.case import (
    DTYPE_BYTES,
    USUAL,
    WINDOW,
    Cache,
    Case,
    Gradients,
    Operation,
    Phase,
    same_padding,
)
from sparsebench.cases.weights import PREFIX, Source
from sparsebench.errors import InputError
from sparselayers.fraction import of_percent

T = TypeVar("T")


def _one_of(kind: str, allowed: Sequence[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in allowed:
            why = known.refused(value) or f"unknown {kind}"
            raise ValueError(f"{why}: choose from {', '.join(allowed)}")
        return value

    return AfterValidator(check)


def _topology(value: str) -> str:
    if value == PREFIX or not (value in known.topologies() or value.startswith(PREFIX)):
        names = ", ".join((*known.topologies(), f"{PREFIX}PATH"))
        raise ValueError(f"{known.refused(value) or 'unknown topology'}: choose from {names}")
    return value


def _no_percent(value: Any) -> Any:
    """Say what was meant where a sparsity may be given in percent; the type says the rest."""
    if isinstance(value, int | float) and value > 1:
        raise ValueError(f"Input should be less than 1{of_percent(value)}")
    return value


Many = Annotated[
    tuple[T, ...],
    BeforeValidator(lambda value: value if isinstance(value, list | tuple) else (value,)),
    Field(min_length=1),
]
Size = Annotated[StrictInt, Field(ge=1)]
Device = Annotated[str, StringConstraints(pattern=r"^(cpu|cuda(:\d+)?)$")]


def _also(name: str, synonym: str) -> Any:
    return Field(default=None, validation_alias=AliasChoices(name, synonym))


class Grid(BaseModel):
    """A product: every combination of one value from each field. A single value is a list of one.

    `width` stands for equal `in_features` and `out_features`, which may be called channels too.
    Without `device` every device of the machine is meant, without `threads` as many as PyTorch
    would use. `gradients` and `cache` vary where they say something: of training, of CPUs.

    `kernel`, `stride`, `padding`, `groups` and `image` are for the operation conv2d, which needs
    the image; without `padding` it is the one that keeps its size. `image` is for k_winners too, of
    channels. `input_sparsity` is the share of zeros in what linear layers get.

    `weights` are files, or folders of them, whose matrices are measured: they bring shapes,
    sparsities and connections, and values where they have some. A topology `file:PATH` says the
    same. Of checkpoints those tensors count whose share of zeros is `min_sparsity` or more. The
    operation conv2d takes those that are convolutions: tensors of four dimensions, matrices of
    which the window is known (see `weights.resnet50`), or all where `kernel` says one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    implementation: Many[Annotated[str, _one_of("implementation", known.implementations())]]
    operation: Annotated[Operation, _one_of("operation", get_args(Operation))] = "linear"
    width: Many[Size] | None = _also("width", "channels")
    in_features: Many[Size] | None = _also("in_features", "in_channels")
    out_features: Many[Size] | None = _also("out_features", "out_channels")
    kernel: Many[Size] | None = None
    stride: Many[Size] | None = None
    padding: Many[Annotated[StrictInt, Field(ge=0)]] | None = None
    groups: Many[Size] | None = None
    image: Many[Size] | None = None
    sparsity: (
        Many[Annotated[float, Field(ge=0, lt=1, strict=True), BeforeValidator(_no_percent)]] | None
    ) = None
    topology: Many[Annotated[str, AfterValidator(_topology)]] = ("random",)
    weights: Many[Annotated[str, StringConstraints(min_length=1)]] | None = None
    input_sparsity: Many[Annotated[float, Field(ge=0, lt=1)]] = (0.0,)
    min_sparsity: Annotated[float, Field(ge=0, lt=1)] = 0.3
    batch: Many[Size]
    device: Many[Device] | None = None
    dtype: Many[Annotated[str, _one_of("dtype", tuple(DTYPE_BYTES))]] = ("float32",)
    phase: Many[Annotated[Phase, _one_of("phase", get_args(Phase))]]
    threads: Many[Size] | None = None
    seed: Many[Annotated[StrictInt, Field(ge=0)]] = (0,)
    gradients: Many[Annotated[Gradients, _one_of("gradients", get_args(Gradients))]] = ("fresh",)
    cache: Many[Annotated[Cache, _one_of("cache", get_args(Cache))]] = ("warm",)

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        given = (
            self.width is not None,
            self.in_features is not None,
            self.out_features is not None,
        )
        drawn = any(given) or not self.files
        if drawn and given not in ((True, False, False), (False, True, True)):
            raise ValueError("give either width, or both in_features and out_features, or weights")
        if drawn != (self.sparsity is not None):
            raise ValueError(
                "sparsity is required but missing"
                if drawn
                else "sparsity: the matrices of weights bring theirs; exclude those that are not "
                "to be measured"
            )
        windows = {name: getattr(self, name) for name in WINDOW}
        if self.operation == "k_winners":
            windows.pop("image")
        if self.operation != "conv2d" and any(windows.values()):
            named = ", ".join(name for name, values in windows.items() if values)
            raise ValueError(f'{named}: only with operation = "conv2d"')
        if self.operation == "conv2d" and drawn and self.image is None:
            raise ValueError("operation conv2d needs image, the height and width of its images")
        if self.operation == "product" and self.phase != ("inference",):
            raise ValueError('operation product is measured in phase = "inference" alone')
        self._products(self._drawn(), ("cpu",), (1,))  # raises where a window does not fit
        return self

    @property
    def files(self) -> list[str]:
        """The paths of files with weights, however they are given."""
        named = [name.removeprefix(PREFIX) for name in self.topology if name.startswith(PREFIX)]
        return [*(self.weights or ()), *named]

    def cases(self, devices: Sequence[str], threads: Sequence[int]) -> list[Case]:
        """Return the product; `devices` and `threads` fill in where the grid names none.

        Raises InputError for files with weights that cannot be read.
        """
        return self._products([*self._drawn(), *self._from_files()], devices, threads)

    def _products(
        self, layers: Sequence[dict[str, Any]], devices: Sequence[str], threads: Sequence[int]
    ) -> list[Case]:
        names = ("implementation", "batch", "dtype", "phase", "seed", *USUAL)
        fields = {name: getattr(self, name) for name in names}
        fields["device"] = self.device or devices
        fields["threads"] = self.threads or threads
        cases = [
            Case(operation=self.operation, **layer, **_told(dict(zip(fields, values, strict=True))))
            for layer in layers
            for values in itertools.product(*fields.values())
        ]
        return list(dict.fromkeys(cases))

    def _drawn(self) -> list[dict[str, Any]]:
        """Return what a case says of each layer whose connections are drawn."""
        if self.width is not None:
            shapes = [(width, width) for width in self.width]
        else:
            shapes = list(itertools.product(self.in_features or (), self.out_features or ()))
        drawn = [name for name in self.topology if not name.startswith(PREFIX)]
        windows: list[dict[str, Any]] = [{}]
        if self.operation == "conv2d":
            windows = self._windows()
        elif self.operation == "k_winners":
            windows = [{"image": image} for image in self.image or (1,)]
        return [
            {"in_features": inputs, "out_features": outputs, "sparsity": s, "topology": t, **window}
            for inputs, outputs in shapes
            for window in windows
            for s, t in itertools.product(self.sparsity or (), drawn)
        ]

    def _from_files(self) -> list[dict[str, Any]]:
        """Return what a case says of each matrix in the files that is what the grid asks for."""
        layers: list[dict[str, Any]] = []
        if self.operation == "k_winners" or self.phase == ("construction",):
            return layers  # they have no weights, or draw them
        for source in weights.find(self.files, self.min_sparsity):
            said = {"topology": source.topology, "path": source.path, "sparsity": source.sparsity}
            outputs, columns = source.shape
            if self.operation != "conv2d":
                layers.append({"in_features": columns, "out_features": outputs, **said})
                continue
            layers += [
                {"in_features": _channels(source, window), "out_features": outputs} | said | window
                for window in self._windows(source)
            ]
        return layers

    def _windows(self, source: Source | None = None) -> list[dict[str, Any]]:
        """Return what a case says of each window: as the grid has it, else as `source` does."""
        own = source.window if source else None
        kernels = self.kernel or (3,)
        if source:
            kernels = (own.kernel,) if own else (self.kernel or ())
        strides = self.stride or ((own.stride,) if own else (1,))
        images = self.image or ((own.image,) if own and own.image else ())
        return [
            {
                "kernel": kernel,
                "stride": stride,
                "padding": same_padding(kernel) if padding is None else padding,
                "groups": groups,
                "image": image,
            }
            for kernel, stride, groups, image in itertools.product(
                kernels, strides, self.groups or (1,), images
            )
            for padding in self.padding or (None,)
        ]


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a case with the usual value where another would say nothing."""
    names: list[str] = []
    if fields["device"] != "cpu" or fields["phase"] == "construction":
        names = list(USUAL)
    elif fields["phase"] == "inference":
        names = ["gradients"]
    return fields | {name: USUAL[name] for name in names}


def _channels(source: Source, window: dict[str, Any]) -> int:
    """Return the channels of the images that a convolution of the matrix `source` takes."""
    columns, pixels = source.shape[1], window["kernel"] ** 2
    if columns % pixels:
        raise InputError(
            f"{source.name}: {columns} columns are no whole number of windows of {window['kernel']}"
            f" × {window['kernel']}: leave kernel out, or the matrix"
        )
    return int(columns // pixels * window["groups"])
