"""Run the C++ kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer.

Builds the kernels once more, with the sanitizers, beside the installed ones; then runs the tests
that drive them, once for every instruction set of this CPU, with the sanitized module in the place
of the installed one. Anything that a sanitizer finds aborts the run. Needs GCC.
"""

import os
import subprocess
import sys
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "sanitize"
TESTS = (
    "tests/sparselayers/test_backends.py",
    "tests/sparselayers/test_native.py",
    "tests/sparselayers/test_conv_native.py",
    "tests/sparselayers/test_linear_fuzz.py",
)


def main() -> int:
    """Build, then test each instruction set in a process of its own."""
    build()
    preload = " ".join(library(name) for name in ("libasan.so", "libubsan.so"))
    for isa in subprocess.run(
        [sys.executable, __file__, "--supported"], check=True, capture_output=True, text=True
    ).stdout.split():
        print(f"{isa}:", flush=True)
        environment = os.environ | {
            "SPARSEBENCH_ISA": isa,
            "LD_PRELOAD": preload,
            # Python and PyTorch keep what they have allocated until the process ends.
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        command = [sys.executable, __file__, "--test"]
        if status := subprocess.run(command, env=environment, cwd=ROOT).returncode:
            return status
    return 0


def build() -> None:
    """Compile the kernels with the sanitizers into BUILD."""
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={BUILD}"]
    settings = f"build-dir={BUILD}/cmake", "cmake.define.SPARSEBENCH_SANITIZE=ON"
    options = [f"--config-settings={setting}" for setting in settings]
    subprocess.run([*command, *options, str(ROOT)], check=True)
    (wheel,) = BUILD.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith("sparselayers/_native"):
                archive.extract(name, BUILD)


def library(name: str) -> str:
    """Return the path of one of the compiler's libraries."""
    command = ["gcc", f"-print-file-name={name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test() -> int:
    """Put the sanitized module in the place of the installed one, and run the tests."""
    import pytest

    (path,) = (BUILD / "sparselayers").glob("_native*")
    spec = spec_from_file_location("sparselayers._native", path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[spec.name] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules[spec.name])
    # This one starts processes, which would run the installed module.
    elsewhere = "tests/sparselayers/test_native.py::test_every_instruction_set"
    return pytest.main(["-q", f"--deselect={elsewhere}", *TESTS])


if __name__ == "__main__":
    if sys.argv[1:] == ["--test"]:
        sys.exit(test())
    if sys.argv[1:] == ["--supported"]:
        import sparselayers._native

        print(*sparselayers._native.supported())
        sys.exit()
    sys.exit(main())
