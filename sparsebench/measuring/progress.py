"""What a run shows while it measures."""

from __future__ import annotations

from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from sparsebench.cases.case import USUAL, Case
from sparsebench.measuring.estimate import Estimator
from sparsebench.records import Record

_TRUST_S = 10.0  # how much has to be measured before its pace corrects the estimates

_COLOURS = {"ok": "green", "unsupported": "yellow"}  # any other status: red


class Display:
    """A bar with the cases done, the time left and the case under way; plain lines in a pipe.

    The time left is the estimate of what remains, corrected by how the estimates did so far.
    """

    def __init__(self, console: Console, cases: list[Case], estimate: Estimator) -> None:
        self._console, self._estimate = console, estimate
        self._total, self.count = len(cases), 0
        self._left = sum(map(estimate, cases))
        self._estimated, self._spent = _TRUST_S, _TRUST_S
        self._waited_for, self._where = "", ""
        self._bar = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.fields[progress]}  ", markup=False),
            TextColumn("{task.description}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("", total=self._total, progress=self._progress())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def under_way(self, case: Case) -> None:
        """Show that `case` is being measured."""
        self._bar.update(self._task, description=title(case))

    def waiting(self, why: str) -> None:
        """Show why nothing is being measured; the same reason once."""
        if why != self._waited_for:
            self._console.print(escape(why), highlight=False, soft_wrap=True)
            self._waited_for = why

    def done(self, record: Record) -> None:
        """Count `record`; print it where there is no bar, or where it failed."""
        expected = self._estimate(record.case)
        self.count += 1
        self._left -= expected
        self._estimated += expected
        self._spent += record.wall_s
        self._bar.update(self._task, completed=self.count, progress=self._progress())
        if not self._console.is_terminal or record.status not in _COLOURS:
            colour = _COLOURS.get(record.status, "red")
            words = (title(record.case), self._where, escape(record.message))
            self._console.print(
                f"{self.count}/{self._total} [{colour}]{record.status}[/]",
                *filter(None, words), highlight=False, soft_wrap=True,
            )  # fmt: skip

    def _progress(self) -> str:
        left = duration(max(0.0, self._left) * self._spent / self._estimated)
        return f"{self.count}/{self._total} cases, {left} left"


class MachinesDisplay(Display):
    """The same, with a line for each worker: how many cases it measured, and the one under way.

    The time left is divided among as many machines as measure now.
    """

    def __init__(self, console: Console, cases: list[Case], estimate: Estimator) -> None:
        super().__init__(console, cases, estimate)
        self._workers: dict[str, TaskID] = {}
        self._counts: Counter[str] = Counter()
        self._busy: set[str] = set()

    def under_way_on(self, worker: str, case: Case) -> None:
        """Show that `worker` measures `case`."""
        self._busy.add(worker)
        self._show(worker, title(case))

    def idle(self, worker: str) -> None:
        """Show that `worker` measures nothing."""
        self._busy.discard(worker)
        self._show(worker, "")

    def counted(self, worker: str) -> None:
        """Count the next record as one of `worker`."""
        self._counts[worker] += 1
        self._where = f"({worker})"

    def _show(self, worker: str, what: str) -> None:
        if worker not in self._workers:
            self._workers[worker] = self._bar.add_task("", total=None, progress="")
        progress = f"{worker}: {self._counts[worker]}"
        self._bar.update(self._workers[worker], description=what, progress=progress)

    def _progress(self) -> str:
        machines = max(1, len(self._busy))
        left = duration(max(0.0, self._left) * self._spent / self._estimated / machines)
        return f"{self.count}/{self._total} cases, {left} left"


def title(case: Case) -> str:
    """Name `case` as short as it can be told from others of a run."""
    size = case.size if "→" in case.size else f"{case.size}→{case.size}"
    unusual = {
        case.topology: case.topology != "random",
        case.operation: case.operation not in ("linear", "conv2d"),  # which the size tells
        f"gradients {case.gradients}": case.gradients != USUAL["gradients"],
        f"cache {case.cache}": case.cache != USUAL["cache"],
    }
    return " ".join(
        (
            f"{case.implementation} {size} {100 * case.sparsity:g}%",
            *(name for name, said in unusual.items() if said),
            f"batch {case.batch} {case.phase} {case.device} {case.dtype}",
        )
    )


def duration(seconds: float) -> str:
    """Return `seconds` as m:ss or h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def counted(cases: int) -> str:
    """Return "1 case", "2 cases"."""
    return "1 case" if cases == 1 else f"{cases} cases"
