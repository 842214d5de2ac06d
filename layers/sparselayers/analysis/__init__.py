"""What the connections of a model look like: degrees, units without any, paths, small worlds.

    table = analysis.topology(model)  # a DataFrame, one row a layer
    figure = analysis.plot(model)
    turnover = analysis.Turnover(model)  # before training; afterwards turnover.table()

Tables need pandas, and figures matplotlib, which the library does not depend on; all else is
computed without them.
"""

from sparselayers.analysis.degrees import Degrees, degrees
from sparselayers.analysis.figure import plot
from sparselayers.analysis.flow import Flow, flow
from sparselayers.analysis.neighbours import SmallWorld, small_worldness
from sparselayers.analysis.table import rows, topology
from sparselayers.analysis.turnover import Turnover

__all__ = [
    "Degrees",
    "Flow",
    "SmallWorld",
    "Turnover",
    "degrees",
    "flow",
    "plot",
    "rows",
    "small_worldness",
    "topology",
]
