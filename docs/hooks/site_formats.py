"""File formats: tables of fields and JSON schemas of the models that read them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from sparsebench.cases.case import Case
from sparsebench.cases.sweep import Sweep
from sparsebench.models.experiment import Experiment as Models
from sparsebench.records import Record
from sparsebench.training.experiment import Table
from sparsebench.training.records import TrainingRecord
from sparsebench.training.settings import CifarSetting, GPTSetting, MLPSetting

# The model that reads a file, and what stands in it without being a model.
FORMATS: dict[str, tuple[Any, ...]] = {
    "sweep": (Sweep,),
    "experiment": (Table, MLPSetting, CifarSetting, GPTSetting),
    "models": (Models,),
    "record": (Record, Case),
    "training-record": (TrainingRecord,),
}


def schemas() -> Iterator[tuple[str, str]]:
    """Yield the name on the site and the text of every schema."""
    for name, (model, *_) in FORMATS.items():
        yield f"reference/schemas/{name}.json", json.dumps(_schema(model), indent=1) + "\n"


def told(name: str) -> str:
    """Return the fields of a format as Markdown."""
    model, *others = FORMATS[name]
    parts = [f"[JSON schema](schemas/{name}.json)\n"]
    return "\n".join(parts + [_section(each) for each in (model, *_parts_of(model), *others)])


def _schema(model: Any) -> dict[str, Any]:
    return TypeAdapter(model).json_schema(schema_generator=_Generator)


class _Generator(GenerateJsonSchema):
    """What a function reads, such as the columns of a setting, is a table of any fields."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
        """Return what stands for it."""
        return {"type": "object"}


def _parts_of(model: Any) -> list[Any]:
    """Return the models that stand inside of a model, nearest first."""
    found: dict[Any, None] = {}

    def look(kind: Any) -> None:
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not model:
            found.setdefault(kind)
        for part in getattr(kind, "__args__", ()):
            look(part)

    for field in model.model_fields.values():
        look(field.annotation)
    return list(found)


def _section(model: Any) -> str:
    text = inspect.getdoc(model) or ""
    rows = "".join(f"| `{name}` | {kind} | {value} |\n" for name, kind, value in _fields(model))
    return f"### {model.__name__}\n\n{text}\n\n| field | type | default |\n|---|---|---|\n{rows}"


def _fields(model: Any) -> Iterator[tuple[str, str, str]]:
    schema = _schema(model)
    required = schema.get("required", ())
    for name, about in schema["properties"].items():
        kind = _kind(about).replace("|", "\\|")
        default = "required" if name in required else f"`{json.dumps(about.get('default'))}`"
        yield name, kind, default


def _kind(about: dict[str, Any]) -> str:
    """Return a type in words."""
    if "$ref" in about:
        return f"a {about['$ref'].rpartition('/')[2]}"
    if "enum" in about:
        return "one of " + ", ".join(f"`{value}`" for value in about["enum"])
    if "const" in about:
        return f"`{about['const']}`"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in about:
            return " or ".join(dict.fromkeys(_kind(each) for each in about[several]))
    kind = about.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(about['items'])}" if "items" in about else "list"
    if kind == "null":
        return "none"
    limits = [
        f"{sign} {about[key]:g}"
        for key, sign in (
            ("minimum", "≥"), ("exclusiveMinimum", "&gt;"),
            ("maximum", "≤"), ("exclusiveMaximum", "&lt;"),
        )
        if key in about
    ]  # fmt: skip
    return " ".join([str(kind), ", ".join(limits)]).strip()
