"""Run the C++ kernels' tests under GCC's sanitizers.

    python tests/sanitize.py                                    # all
    python tests/sanitize.py address                            # those of one sanitizer
    python tests/sanitize.py address tests/sparselayers/test_ways.py -k bitmaps    # these alone
    SPARSEBENCH_ISA=avx2 python tests/sanitize.py thread        # for one instruction set

What is no sanitizer's name goes to pytest in the place of the sanitizer's tests.

Builds the kernels once more, with the sanitizers, beside the installed ones; then runs tests with
the sanitized module in the place of the installed one. Anything that a sanitizer finds aborts the
run. AddressSanitizer and UndefinedBehaviorSanitizer run the tests that drive the kernels, once for
every instruction set of this CPU, and any sequence of what a user may do. ThreadSanitizer runs
those in which several threads use a layer at once, the first time above all; each of them computes
alone, since GCC's OpenMP tells the sanitizer nothing of how its threads wait for each other.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "sanitize"


@dataclass(frozen=True)
class Sanitizer:
    """What is compiled in, what is loaded before Python, how it is set, and which tests it runs."""

    compiled: str
    libraries: tuple[str, ...]
    settings: dict[str, str]
    tests: tuple[str, ...]
    every_instruction_set: bool


SANITIZERS = {
    "address": Sanitizer(
        "address,undefined",
        ("libasan.so", "libubsan.so"),
        # Python and PyTorch keep what they have allocated until the process ends.
        {"ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"},
        (
            "tests/sparselayers/test_backends.py",
            "tests/sparselayers/test_native.py",
            "tests/sparselayers/test_ways.py",
            "tests/sparselayers/test_amx.py",
            "tests/sparselayers/test_row_blocks.py",
            "tests/sparselayers/test_n_of_m.py",
            "tests/sparselayers/test_conv_native.py",
            "tests/sparselayers/test_by_rows.py",
            "tests/sparselayers/test_nonzero.py",
            "tests/sparselayers/test_plain.py",
            "tests/sparselayers/test_columns.py",
            "tests/sparselayers/test_lane_bits.py",
            "tests/sparselayers/test_linear_fuzz.py",
            "tests/workflows/test_any_sequence.py",
            "tests/workflows/test_threads.py",
        ),
        every_instruction_set=True,
    ),
    "thread": Sanitizer(
        "thread",
        ("libtsan.so",),
        # Python and PyTorch are not compiled for it: what they do among themselves is not judged.
        {
            "TSAN_OPTIONS": "ignore_noninstrumented_modules=1 halt_on_error=1 exitcode=66",
            "OMP_NUM_THREADS": "1",
            "SPARSEBENCH_SEQUENCES": "50",
        },
        ("tests/workflows/test_threads.py", "tests/workflows/test_any_sequence.py"),
        every_instruction_set=False,
    ),
}


def main(arguments: list[str]) -> int:
    """Build, then test each instruction set in a process of its own."""
    names = [each for each in arguments if each in SANITIZERS]
    tests = [each for each in arguments if each not in SANITIZERS]
    only = os.environ.get("SPARSEBENCH_ISA")
    for name in names or list(SANITIZERS):
        sanitizer = SANITIZERS[name]
        supported = [only] if only else instruction_sets()
        build(sanitizer, ";".join(supported))
        preload = " ".join(library(each) for each in sanitizer.libraries)
        for isa in supported if sanitizer.every_instruction_set else supported[-1:]:
            print(f"{name}, {isa}:", flush=True)
            environment = os.environ | sanitizer.settings
            environment |= {"SPARSEBENCH_ISA": isa, "LD_PRELOAD": preload}
            command = [sys.executable, __file__, "--test", *(tests or sanitizer.tests)]
            if status := subprocess.run(command, env=environment, cwd=ROOT).returncode:
                return status
    return 0


def build(sanitizer: Sanitizer, instruction_sets: str) -> None:
    """Compile the kernels with the sanitizers into BUILD."""
    shutil.rmtree(BUILD, ignore_errors=True)
    BUILD.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={BUILD}"]
    settings = {
        "build-dir": f"{BUILD}/cmake",
        "cmake.define.SPARSEBENCH_SANITIZE": sanitizer.compiled,
        "cmake.define.SPARSEBENCH_INSTRUCTION_SETS": instruction_sets,
    }
    options = [f"--config-settings={name}={value}" for name, value in settings.items()]
    subprocess.run([*command, *options, str(ROOT)], check=True)
    (wheel,) = BUILD.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith("sparselayers/_native"):
                archive.extract(name, BUILD)


def instruction_sets() -> list[str]:
    """Return those of this CPU, the narrowest first."""
    command = [sys.executable, __file__, "--supported"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def library(name: str) -> str:
    """Return the path of one of the compiler's libraries."""
    command = ["gcc", f"-print-file-name={name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test(tests: list[str]) -> int:
    """Put the sanitized module in the place of the installed one, and run the tests."""
    import pytest

    (path,) = (BUILD / "sparselayers").glob("_native*")
    spec = spec_from_file_location("sparselayers._native", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])
    return pytest.main(arguments(tests))


def arguments(tests: list[str]) -> list[str]:
    """Return what pytest is given to run these."""
    # These start processes, which would run the installed module.
    files = (ROOT / "tests" / "sparselayers").glob("test_*.py")
    elsewhere = [f"{path.relative_to(ROOT)}::test_every_instruction_set" for path in files]
    elsewhere += [
        "tests/sparselayers/test_by_rows.py::test_a_rewiring_takes_few_bytes_a_connection",
        "tests/sparselayers/test_columns.py"
        "::test_a_process_takes_less_for_a_half_sparse_layer_than_for_a_dense_one",
    ]
    # A report goes to the process's standard error, and the process ends: it must not be captured.
    options = ["-q", "--capture=sys", *(f"--deselect={each}" for each in elsewhere)]
    return [*options, *tests]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--test"]:
        sys.exit(test(sys.argv[2:]))
    if sys.argv[1:] == ["--supported"]:
        import sparselayers._native

        print(*sparselayers._native.supported())
        sys.exit()
    sys.exit(main(sys.argv[1:]))
