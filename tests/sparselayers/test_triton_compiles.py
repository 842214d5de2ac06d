"""The kernels compile for real GPUs: Triton and its assembler need none at hand for that."""

import re
import subprocess
from pathlib import Path

import pytest
import torch

from sparselayers.backends.triton_kernels.tiles import candidates

triton = pytest.importorskip("triton", reason="Triton is not installed")

_TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_SPECIALIZED = ("batch", "outputs", "inputs")
_SIZES = ("pieces", "long_rows", "rows", "cut", "blocks", "groups", "first", "columns")
_SIZES += ("words", "features")
_INTEGERS = (*_SPECIALIZED, *_SIZES)
_INDICES = ("ptr", "index", "permutation", "order", "piece_row", "piece_begin", "piece_ptr")
_INDICES += ("col_ptr", "place_of", "bits", "starts")
_MATRICES = ("x", "y", "dx", "dy", "values", "bias", "result", "sums")
_ABSENT = ("order", "piece_row", "piece_begin", "permutation", "bias", "partial", "sums")


def compiled(kernel, capability, dtype, constants, *, absent=(), index="i32"):
    """Compile as a launch with these arguments would, for pointers and sizes divisible by 16."""
    compiler = pytest.importorskip("triton.compiler")
    target = pytest.importorskip("triton.backends.compiler").GPUTarget("cuda", capability, 32)
    if not isinstance(kernel, triton.JITFunction):
        pytest.skip("kernels are interpreted")
    signature, attributes = {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in absent:
            signature[name], constants = "constexpr", constants | {name: None}
        elif name in _INTEGERS:
            signature[name] = "i32"
        elif name in _INDICES:
            signature[name] = f"*{index}"
        elif name in _MATRICES:
            signature[name] = f"*{_TYPES[dtype]}"
        elif name == "partial":
            signature[name] = "*fp32"
        else:
            signature[name] = "constexpr"
            continue
        if name not in absent and name not in _SIZES:
            attributes[(place,)] = [["tt.divisibility", 16]]
    warps = constants.pop("num_warps", 4)
    source = compiler.ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=target, options={"num_warps": warps})


def spilled(made, capability, folder):
    """The bytes of registers that the assembler had no room for, or None where it is not found."""
    assembler = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"
    if not assembler.exists():
        return None
    (folder / "kernel.ptx").write_text(made.asm["ptx"])
    target = f"--gpu-name=sm_{capability}{'a' if capability >= 90 else ''}"
    command = [assembler, "--verbose", target, folder / "kernel.ptx", "-o", folder / "kernel.o"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return sum(map(int, re.findall(r"(\d+) bytes spill", said)))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def constants(tile, **flags):
    import triton.language as tl

    names = {"ROWS": tile.rows, "CONNECTIONS": tile.connections, "BATCH": tile.batch}
    shape = {"OFFSET": tl.int32, "WIDE": tl.float32, "num_warps": tile.warps}
    return names | shape | flags


@pytest.mark.parametrize(("capability", "batch"), [(80, 128), (90, 1), (90, 128)])
def test_plain(capability, batch, tmp_path):
    from sparselayers.backends.triton_kernels.multiply import multiply
    from sparselayers.backends.triton_kernels.sample import sample

    tile = candidates(batch, 200.0)[0]
    flags = {"ORDERED": False, "SPLIT": False}
    flags |= {"HAS_BIAS": False, "BY_SAMPLE": False}
    of_kernels = (multiply, flags | {"PERMUTED": False}), (sample, flags | {"DY_BY_SAMPLE": False})
    for kernel, of_kernel in of_kernels:
        given = constants(tile, **of_kernel)
        made = compiled(kernel, capability, torch.float32, given, absent=_ABSENT)
        assert "atom" not in made.asm["ptx"]  # the result is the same every time
        assert spilled(made, capability, tmp_path) in (0, None)
        if batch == 128:  # a connection's samples are read four at a time
            assert re.search(r"ld\.global\S*\.v4\.b32", made.asm["ptx"])


def test_every_branch(tmp_path):
    import triton.language as tl

    from sparselayers.backends.triton_kernels.multiply import combine, multiply
    from sparselayers.backends.triton_kernels.sample import sample

    tile = candidates(4, 30.0)[0]
    flags = {"ORDERED": True, "SPLIT": True, "BY_SAMPLE": True}
    of_products = constants(tile, **flags, HAS_BIAS=True, PERMUTED=True)
    of_sums = {
        "HAS_BIAS": True,
        "BY_SAMPLE": True,
        "OFFSET": tl.int64,
        "WIDE": tl.float32,
        "BATCH": 64,
    }
    of_gradients = constants(tile, **flags, HAS_BIAS=True, DY_BY_SAMPLE=True)
    kernels = ((multiply, of_products), (sample, of_gradients), (combine, of_sums))
    for kernel, given in kernels:
        made = compiled(kernel, 90, torch.bfloat16, given, index="i64")
        assert spilled(made, 90, tmp_path) in (0, None)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("capability", [80, 90])
def test_row_blocks_use_tensor_cores(capability, dtype, tmp_path):
    import triton.language as tl

    from sparselayers.backends.triton_kernels import row_blocks
    from sparselayers.backends.triton_kernels.launch_row_blocks import candidates

    tile = candidates(128, 8)[0]
    given = constants(tile, HEIGHT=8, PRECISION="tf32")
    dense = given | {"HAS_BIAS": True}
    without = {name: given[name] for name in ("CONNECTIONS", "BATCH", "OFFSET", "WIDE")}
    kernels = (
        (row_blocks.multiply, dense),
        (row_blocks.sample, dense),
        (row_blocks.spread, given | {"SECTION": 128}),
        (row_blocks.gather, without | {"SECTION": 128, "OFFSET": tl.int64}),
    )
    for kernel, constant in kernels:
        made = compiled(kernel, capability, dtype, constant)
        assert "atom" not in made.asm["ptx"]
        assert spilled(made, capability, tmp_path) in (0, None)
        assert ("mma" in made.asm["ptx"]) == (kernel is not row_blocks.gather)


# The tile that is taken untried; the widest would take half a minute more to compile.
@pytest.mark.parametrize("product", ["multiply", "grad_input", "sample"])
@pytest.mark.parametrize(("capability", "dtype"), [(80, torch.float32), (90, torch.bfloat16)])
def test_bitmaps_use_tensor_cores(capability, dtype, product, tmp_path):
    import triton.language as tl

    from sparselayers.backends.triton_kernels import bitmaps
    from sparselayers.backends.triton_kernels.launch_bitmaps import WORD, candidates

    tile = candidates(product, 128)[0]
    given = {"ROWS": tile.rows, "WORDS": tile.connections // WORD, "BATCH": tile.batch}
    given |= {"OFFSET": tl.int32, "WIDE": tl.float32, "PRECISION": "tf32", "BY_SAMPLE": True}
    given["num_warps"] = tile.warps
    if product != "grad_input":
        given["HAS_BIAS"] = True
    if product == "sample":
        given["DY_BY_SAMPLE"] = True
    made = compiled(getattr(bitmaps, product), capability, dtype, given)
    ptx = made.asm["ptx"]
    assert "atom" not in ptx  # each number is written once: the result is the same every time
    assert ("wgmma" if capability >= 90 else "mma") in ptx
    assert "popc" in ptx  # the bits before a place are counted by one instruction
    assert spilled(made, capability, tmp_path) in (0, None)
