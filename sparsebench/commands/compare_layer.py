"""`sparsebench compare-linear` and `compare-conv2d`: time against sparsity for one layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich import box
from rich.table import Table
from rich.text import Text

from sparsebench import output
from sparsebench.analysis.point import BASELINE, LEAD
from sparsebench.analysis.points import points
from sparsebench.campaign.run import measure
from sparsebench.cases import drawable
from sparsebench.cases.case import Case
from sparsebench.cases.grid import Grid
from sparsebench.cases.settings import Settings
from sparsebench.commands.report import print_json
from sparsebench.errors import InputError
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.measuring import isolation, machine
from sparsebench.measuring.refusals import refusal
from sparsebench.output import console, errors
from sparsebench.records import load

_CURVE = "0.5,0.6,0.7,0.8,0.9,0.95,0.98,0.99"
# Those that no one would use for speed, that choose among the others, or compile for long.
_ON_REQUEST = ("reference", "auto", "dense_compiled")

Batch = Annotated[int, typer.Option(min=1, help="Samples of a call.")]
Sparsities = Annotated[str, typer.Option("--sparsity", help="Sparsities, with commas between.")]
Names = Annotated[
    str | None,
    typer.Option(
        "--implementation",
        help="Names, with commas between; by default all that can be measured here but "
        f"{', '.join(_ON_REQUEST)}. The dense layer is always among them.",
    ),
]
Phases = Annotated[
    str,
    typer.Option("--phase", help="Of inference, forward_backward and train_step, with commas."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="Type of the weights.")]
Seconds = Annotated[
    float, typer.Option(min=0.001, help="To time a case for, in each of three rounds.")
]
Folder = Annotated[
    Path | None,
    typer.Option(help="The folder of the records; one for each layer below results by default."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print every case and metric as JSON, not a table.")
]


def compare_linear(
    in_features: Annotated[int, typer.Option("--in", min=1, help="Input features.")],
    out_features: Annotated[int, typer.Option("--out", min=1, help="Output features.")],
    batch: Batch,
    sparsity: Sparsities = _CURVE,
    implementation: Names = None,
    phase: Phases = "inference,forward_backward",
    threads: Threads = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seconds: Seconds = 0.1,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Plot time against sparsity for a linear layer, dense against each implementation."""
    layer = {"operation": "linear", "in_features": in_features, "out_features": out_features}
    asked = _asked(layer, batch, sparsity, phase, device, dtype, threads)
    name = f"compare-linear/{in_features}-{out_features}-batch{batch}"
    where = folder or Path("results") / name
    _compare(asked, implementation, seconds, where, as_json=as_json)


def compare_conv2d(
    channels: Annotated[str, typer.Option(help="Channels in and out, for example 64,128.")],
    image: Annotated[int, typer.Option(min=1, help="Height and width of the images.")],
    batch: Batch,
    kernel: Annotated[int, typer.Option(min=1, help="Height and width of the kernel.")] = 3,
    stride: Annotated[int, typer.Option(min=1)] = 1,
    padding: Annotated[
        int | None, typer.Option(min=0, help="By default what keeps the images' size.")
    ] = None,
    groups: Annotated[int, typer.Option(min=1)] = 1,
    sparsity: Sparsities = _CURVE,
    implementation: Names = None,
    phase: Phases = "inference,forward_backward",
    threads: Threads = None,
    device: Device = "cpu",
    dtype: Dtype = "float32",
    seconds: Seconds = 0.1,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Plot time against sparsity for a convolution, dense against each implementation."""
    sizes = _split("--channels", channels, int, "1 or 2 positive integers such as 64,128")
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise InputError(f"--channels: 1 or 2 positive integers such as 64,128, got {channels!r}")
    layer = {
        "operation": "conv2d", "in_features": sizes[0], "out_features": sizes[-1],
        "kernel": kernel, "stride": stride, "groups": groups, "image": image,
    }  # fmt: skip
    if padding is not None:
        layer["padding"] = padding
    asked = _asked(layer, batch, sparsity, phase, device, dtype, threads)
    name = f"compare-conv2d/{sizes[0]}-{sizes[-1]}-kernel{kernel}"
    name += f"-stride{stride}" * (stride > 1) + f"-groups{groups}" * (groups > 1)
    name += "" if padding is None else f"-padding{padding}"
    default = Path("results") / f"{name}-image{image}-batch{batch}"
    _compare(asked, implementation, seconds, folder or default, as_json=as_json)


def _asked(
    layer: dict[str, Any],
    batch: int,
    sparsity: str,
    phase: str,
    device: str,
    dtype: str,
    threads: int | None,
) -> dict[str, Any]:
    """Return the options as the fields of a Grid, checked here where it would not name them."""
    machine.check_device(device)
    sparsities = _split("--sparsity", sparsity, float, "numbers in [0, 1) such as 0.8,0.9")
    return layer | {
        "sparsity": sparsities, "batch": batch, "phase": phase.split(","), "device": device,
        "dtype": dtype, "threads": threads or machine.default_threads(),
    }  # fmt: skip


def _compare(
    asked: dict[str, Any], names: str | None, seconds: float, folder: Path, *, as_json: bool
) -> None:
    """Measure dense and `names` over the sparsities; write records, tables and plots; print."""
    cases = _cases(asked, _named(names) if names else None)
    if wrong := drawable.never(cases):
        raise InputError(f"--sparsity: {', '.join(wrong.values())}")
    settings = Settings(rounds=3, sample_s=seconds)
    # JSON has the output to itself.
    measure(cases, folder, settings, talk=errors if as_json else console)
    isolation.end()  # its memory is free for drawing
    from sparsebench.views import folder as views  # pandas: not while cases are measured
    from sparsebench.views import tables  # pandas

    found = load(folder)
    written = views.write(found, folder)
    wanted = set(cases)
    times = tables.times(points(r for r in found if r.case in wanted))
    written += tables.write(times, folder / "tables")
    if as_json:
        print_json([record for record in found if record.case in wanted])
        return
    output.show(_shown(times))
    for path in written:
        if path.suffix == ".png" and path.name.startswith("time-"):
            console.print(str(path), highlight=False, soft_wrap=True)


def _named(names: str) -> list[str]:
    return list(dict.fromkeys([*_split("--implementation", names, str, "names"), BASELINE]))


def _cases(asked: dict[str, Any], names: Sequence[str] | None) -> list[Case]:
    """Return the cases of all `names`; without any, of those that can be measured here."""
    try:
        grid = Grid.model_validate(asked | {"implementation": names or tuple(IMPLEMENTATIONS)})
    except ValidationError as error:
        raise InputError("\n".join(_explained(e) for e in error.errors())) from None
    cases = list(dict.fromkeys(grid.cases((), ())))
    if names is None:
        left_out = {
            c.implementation
            for c in cases
            if not IMPLEMENTATIONS[c.implementation].stands_in or refusal(c)
        } - {BASELINE, LEAD}
        cases = [c for c in cases if c.implementation not in {*left_out, *_ON_REQUEST}]
    return cases


def _explained(error: Any) -> str:
    option = next((f"--{part}: " for part in error["loc"] if isinstance(part, str)), "")
    value = f", got {error['input']!r}" if option else ""
    return f"{option}{error['msg'].removeprefix('Value error, ')}{value}"


def _split(option: str, text: str, kind: type, allowed: str) -> list[Any]:
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option}: {allowed}, got {text!r}") from None


def _shown(times: Any) -> Table:
    """Return the table of times for the terminal."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for title in times.text.columns:
        words = title in ("phase", "implementation", "size")
        shown.add_column(title, justify="left" if words else "right", no_wrap=True)
    for row in times.text.itertuples(index=False):
        shown.add_row(*(Text(cell, style="bold" if LEAD in row else "") for cell in row))
    return shown
