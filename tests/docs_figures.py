"""The pictures that the README and docs/ show, drawn from the committed records.

A page names a picture `plots/FOLDER/NAME.png`: the figure NAME of the records in
results/reference/FOLDER. `make docs-figures` draws what pages show, and removes what none does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

from sparsebench import records
from sparsebench.analysis.points import points
from sparsebench.scale import records as scale
from sparsebench.scale import views as scale_views
from sparsebench.training import curves
from sparsebench.training import records as runs
from sparsebench.training.views import curves_plot
from sparsebench.training.views import plots as trained
from sparsebench.views import plots
from sparsebench.views.plots.style import save, styled
from tests.readme_tables import PAGES, REFERENCE, ROOT

PLOTS = ROOT / "plots"
PICTURE = re.compile(r"\]\((?:\.\./)*plots/([\w./-]+)\.png\)")


def shown() -> set[str]:
    """Return the pictures that pages show, as FOLDER/NAME."""
    return {name for page in PAGES for name in PICTURE.findall(page.read_text("utf-8"))}


def figures(folder: Path) -> Iterator[tuple[str, Figure]]:
    """Yield every figure of the records in `folder`, with its name."""
    if (folder / records.FILE_NAME).exists():
        yield from plots.figures(points(records.load(folder / records.FILE_NAME)))
        return
    with styled():
        yield from trained.of_training(runs.load(folder))
        yield from curves_plot.of(curves.load(folder))
        yield from scale_views.figures(scale.load(folder))


def draw(names: set[str], out: Path) -> set[str]:
    """Draw the pictures `names` into `out`; return those for which there is no such figure."""
    missing = set(names)
    for folder in sorted({name.rpartition("/")[0] for name in names}):
        (out / folder).mkdir(parents=True, exist_ok=True)
        here = {name for name in names if name.rpartition("/")[0] == folder}
        for name, figure in figures(REFERENCE / folder):
            if f"{folder}/{name}" in missing:
                _, vectors = save(figure, out / folder / name)
                vectors.unlink()
                missing.remove(f"{folder}/{name}")
            if not missing & here:
                break
    return missing


def committed() -> set[str]:
    """Return the pictures that are there, as FOLDER/NAME."""
    return {str(path.relative_to(PLOTS).with_suffix("")) for path in PLOTS.rglob("*.png")}


if __name__ == "__main__":
    if lacking := draw(shown(), PLOTS):
        sys.exit(f"no records give {', '.join(sorted(lacking))}")
    for name in committed() - shown():
        (PLOTS / f"{name}.png").unlink()
