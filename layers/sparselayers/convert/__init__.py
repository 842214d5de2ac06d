"""Dense layers to sparse ones and back, alone and in whole models.

`layer` converts one, `model` all of a model; `swap` measures which of them pay (`measure`, `whole`)
and says what it decided (`decisions`), `onnx` writes models. Uses layers, topologies and
structures; of the library only what saves models (`saved`) uses it.
"""

from sparselayers.convert.decisions import Decision, Sparsified
from sparselayers.convert.layer import Target, convert
from sparselayers.convert.model import convert_model, replace_modules
from sparselayers.convert.onnx import export_onnx
from sparselayers.convert.swap import sparsify

__all__ = [
    "Decision",
    "Sparsified",
    "Target",
    "convert",
    "convert_model",
    "export_onnx",
    "replace_modules",
    "sparsify",
]
