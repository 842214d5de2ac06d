"""Does the check catch what is slower, and pass what is not? The trial that docs/ speaks of.

    python benchmarks/trial.py slower 5 --out trial.jsonl
    python benchmarks/trial.py same 20 --out trial.jsonl

Head is this working tree, and `slower` patches it: every product of the native kernels takes 30%
longer. Base is the same working tree as it is. One process keeps a core busy all the while. Both
sides are built once, and measured as often as asked, each time in new processes; every outcome is
a line of the file.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from sparsebench.measuring import hostlock, machine
from sparsebench.measuring.busy_core import busy_core
from sparsebench.regression import builds, judging, turns, yardstick

# Appended to sparselayers/backends/native/__init__.py.
PATCH = """

def _slower(product):
    from time import thread_time

    def slow(*args, **kwargs):
        begin = thread_time()
        answer = product(*args, **kwargs)
        end = begin + 1.3 * (thread_time() - begin)
        while thread_time() < end:
            pass
        return answer

    return slow


_short = short_choice.few, short_choice.few_bitmaps, short_choice.one_block
for _backend in (Native, _short[0].Few, _short[1].FewBitmaps, _short[2].OneBlock):
    for _name in ("forward", "backward"):
        setattr(_backend, _name, _slower(getattr(_backend, _name)))
"""

WORKLOADS = [
    "overhead-training", "inference-1024-90%-b128", "training-2048-90%-b1",
    "training-784-2000-90%-b64", "training-1024-90%-b128", "training-2048-99%-b128",
]  # fmt: skip


def main():
    """Run the trial and append its outcomes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("slower", "same"))
    parser.add_argument("count", type=int)
    parser.add_argument("--seconds", type=float, default=0.05)
    parser.add_argument("--all", action="store_true", help="every workload, not only six")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    names = list(yardstick.WORKLOADS) if given.all else WORKLOADS
    root = builds.repository(Path.cwd())
    revision = builds.head_of(root)
    with tempfile.TemporaryDirectory() as folder, hostlock.measuring():
        first, second = Path(folder) / "base", Path(folder) / "head"
        with (
            builds.built(root, revision, first, head=True) as base,
            builds.built(root, revision, second, head=True) as head,
        ):
            if given.kind == "slower":
                (native,) = second.rglob("site-packages/sparselayers/backends/native/__init__.py")
                native.write_text(native.read_text() + PATCH)
                shutil.rmtree(native.parent / "__pycache__", ignore_errors=True)
            probe = turns.probe_with(
                {"base": base.python, "head": head.python}, Path(folder), given.seconds
            )
            with busy_core():
                for number in range(given.count):
                    start = time.monotonic()
                    found = judging.judged(probe, names)
                    outcome = {
                        "kind": given.kind,
                        "commit": revision.commit,
                        "failed": any(f.verdict in ("slower", "broken") for f in found),
                        "wall_s": round(time.monotonic() - start, 1),
                        "seconds": given.seconds,
                        "findings": [f.model_dump() for f in found],
                        "machine": machine.fingerprint()["cpu"],
                    }
                    with given.out.open("a") as file:
                        file.write(json.dumps(outcome) + "\n")
                    print(
                        number + 1, "failed" if outcome["failed"] else "passed", outcome["wall_s"]
                    )


if __name__ == "__main__":
    main()
