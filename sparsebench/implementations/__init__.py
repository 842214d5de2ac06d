"""The competitors: one short file each, and one line here; and those of other distributions.

Each builds a module that computes the layer of a Problem. Uses `cases` and the library, and takes
no time: who runs against whom, and how that is measured, is the business of `measuring`.
"""

from __future__ import annotations

from sparsebench import extensions
from sparsebench.extensions import Extension, Registry, Unusable
from sparsebench.implementations.auto import Auto
from sparsebench.implementations.base import Implementation, Missing
from sparsebench.implementations.csc_nonzero import CSCNonzero
from sparsebench.implementations.dense import Dense
from sparsebench.implementations.dense_bf16 import DenseBF16
from sparsebench.implementations.dense_compiled import DenseCompiled
from sparsebench.implementations.dense_frozen import DenseFrozen
from sparsebench.implementations.dense_graph import DenseGraph
from sparsebench.implementations.dense_int8 import DenseInt8
from sparsebench.implementations.dense_medium import DenseMedium
from sparsebench.implementations.dense_mv import DenseMV
from sparsebench.implementations.dense_nonzero import DenseNonzero
from sparsebench.implementations.dense_onednn import DenseOneDNN
from sparsebench.implementations.dense_onnxruntime import DenseONNXRuntime
from sparsebench.implementations.dense_onnxruntime_int8 import DenseONNXRuntimeInt8
from sparsebench.implementations.dense_openblas import DenseOpenBLAS
from sparsebench.implementations.dense_openvino import DenseOpenVINO
from sparsebench.implementations.dense_openvino_int8 import DenseOpenVINOInt8
from sparsebench.implementations.dense_packed import DensePacked
from sparsebench.implementations.dense_tf32 import DenseTF32
from sparsebench.implementations.jax_bcsr import JaxBCSR
from sparsebench.implementations.masked import Masked
from sparsebench.implementations.masked_rigl import MaskedRigL
from sparsebench.implementations.nupic_formula import NupicFormula
from sparsebench.implementations.openvino_sparse import OpenVINOSparse
from sparsebench.implementations.ours import Ours
from sparsebench.implementations.ours_bitmaps import OursBitmaps
from sparsebench.implementations.ours_gather import OursGather
from sparsebench.implementations.ours_graph import OursGraph
from sparsebench.implementations.reference import Reference
from sparsebench.implementations.rigl import RigL
from sparsebench.implementations.scipy_csr import ScipyCSR
from sparsebench.implementations.scipy_nonzero import ScipyNonzero
from sparsebench.implementations.set import SET
from sparsebench.implementations.sparse_dot_mkl import SparseDotMKL
from sparsebench.implementations.sparselab import SparseLab
from sparsebench.implementations.sparselinear import SparseLinearPackage
from sparsebench.implementations.sparseprop import SparseProp
from sparsebench.implementations.sparseprop_pixels import SparsePropPixels
from sparsebench.implementations.top_k_mask import TopKMask
from sparsebench.implementations.torch_2to4 import TorchTwoToFour
from sparsebench.implementations.torch_bsr import TorchBSR
from sparsebench.implementations.torch_coo import TorchCOO
from sparsebench.implementations.torch_csr import TorchCSR
from sparsebench.implementations.torch_sparse_matmul import TorchSparseMatmul
from sparsebench.implementations.torch_sparse_spmm import TorchSparseSpmm

__all__ = ["IMPLEMENTATIONS", "Implementation", "as_exact"]

OWN: dict[str, Implementation] = {
    implementation.name: implementation
    for implementation in (
        Dense(),
        DenseCompiled(),
        DenseTF32(),
        DenseBF16(),
        DenseGraph(),
        DenseMedium(),
        DenseOneDNN(),
        DenseOpenBLAS(),
        DenseMV(),
        DensePacked(),
        DenseFrozen(),
        DenseInt8(),
        DenseONNXRuntime(),
        DenseONNXRuntimeInt8(),
        DenseOpenVINO(),
        DenseOpenVINOInt8(),
        OpenVINOSparse(),
        Masked(),
        TorchCOO(),
        TorchCSR(),
        TorchBSR(),
        TorchTwoToFour(),
        TorchSparseSpmm(),
        TorchSparseMatmul(),
        SparseLinearPackage(),
        SparseProp(),
        SparsePropPixels(),
        SparseLab(),
        ScipyCSR(),
        SparseDotMKL(),
        JaxBCSR(),
        Reference(),
        Ours(),
        OursGather(),
        OursBitmaps(),
        OursGraph(),
        Auto(),
        RigL(),
        SET(),
        MaskedRigL(),
        TopKMask(),
        NupicFormula(),
        DenseNonzero(),
        CSCNonzero(),
        ScipyNonzero(),
    )
}


def _brought(extension: Extension) -> Implementation:
    """Return the competitor of another distribution; one that cannot be used says why."""
    try:
        given = extension.load()
        made = given() if isinstance(given, type) else given
    except Unusable as why:
        return Missing(extension.name, str(why))
    except Exception as error:  # anything may go wrong in another's code
        return _missing(extension, f"brings it, and it cannot be made: {error}")
    if not isinstance(made, Implementation):
        kind = type(made).__name__
        return _missing(extension, f"brings it, and it is no Implementation but a {kind}")
    if getattr(made, "name", None) != extension.name:
        return _missing(extension, f"brings it, and it calls itself {made.name!r}")
    return made


def _missing(extension: Extension, why: str) -> Implementation:
    return Missing(extension.name, f"{extension.owner} {why}")


IMPLEMENTATIONS: Registry[Implementation] = Registry(extensions.IMPLEMENTATIONS, OWN, _brought)


def as_exact(name: str) -> bool:
    """Return whether `name` is a layer in the case's own type, and so may stand for the others."""
    if name not in IMPLEMENTATIONS:
        return True
    return IMPLEMENTATIONS[name].stands_in and not IMPLEMENTATIONS[name].precision
