"""The contract for people and other languages: JSON Schemas, the list of events, the settings.

The text is a pure function of the models, with sorted keys, so that a changed file is a changed
contract and nothing else.
"""

from __future__ import annotations

import inspect
import json
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agents.choreography.graph import Choreography
from agents.choreography.rendering import NONE, table
from agents.kernel.settings import Settings
from schemas.dead_letter import DeadLetter, OperatorDecision
from schemas.envelope import event_type
from schemas.events import EVENTS, ChainEvent, Event
from schemas.order import Order, OrderRequest

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BESIDE_EVENTS: tuple[type[BaseModel], ...] = (Order, OrderRequest, DeadLetter, OperatorDecision)
"""What crosses a topic or the HTTP door besides the events."""


def schema_files() -> dict[str, str]:
    """File name and text of every JSON Schema."""
    models: tuple[type[BaseModel], ...] = (*BESIDE_EVENTS, *EVENTS.values())
    return {f"{model.__name__}.json": schema_of(model) for model in models}


@cache
def schema_of(model: type[BaseModel]) -> str:
    """The JSON Schema of what is accepted: a field with a default may be missing."""
    major = getattr(model, "major", 1)
    schema = {
        "$schema": DIALECT,
        "$id": f"urn:chorale:{model.__name__}:v{major}",
        **model.model_json_schema(),
    }
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def event_reference(choreography: Choreography) -> str:
    """Every event: type, topic, meaning, and what it carries beyond the chain's fields."""
    chain = [
        "Every event but OrderRejected carries these fields; the sections name what comes on top.",
        "Unknown fields of a newer minor version are kept and passed on.",
        "",
        _fields(ChainEvent, without=()),
    ]
    sections = [
        part for name in choreography.events for part in ("", *_section(choreography, name))
    ]
    return "\n".join([*chain, *sections])


def settings_reference() -> str:
    """Every setting: its environment variable, type, default, bounds and meaning."""
    prefix = Settings.model_config.get("env_prefix", "")
    rows = [
        (
            f"`{prefix}{name.upper()}`",
            _type_name(info.annotation),
            f"`{info.default}`" if info.default != "" else "empty",
            _bounds(info),
            info.description or "",
        )
        for name, info in Settings.model_fields.items()
    ]
    return table(("variable", "type", "default", "bounds", "meaning"), rows)


def _section(choreography: Choreography, name: str) -> list[str]:
    model = choreography.emitted_by[name][0].event
    base = ChainEvent if issubclass(model, ChainEvent) else Event
    meaning = inspect.cleandoc(model.__doc__ or "")
    topic = choreography.topics.of_owner(choreography.emitters(name)[0])
    address = (
        f"Type `{event_type(name, model.major)}`, schema version {model.major}.{model.minor}, "
        f"topic `{topic}`, [JSON Schema](schemas/{name}.json)."
    )
    lines = [f"## {name}", "", meaning, "", address]
    own = [field for field in model.model_fields if field not in base.model_fields]
    if own:
        lines += ["", _fields(model, without=tuple(base.model_fields))]
    return lines


def _fields(model: type[BaseModel], *, without: tuple[str, ...]) -> str:
    properties: dict[str, Any] = model.model_json_schema()["properties"]
    rows = [
        (
            f"`{name}`",
            _json_type(properties[name]),
            "yes" if info.is_required() else "no",
            _bounds(info),
        )
        for name, info in model.model_fields.items()
        if name not in without
    ]
    return table(("field", "type", "required", "bounds"), rows)


def _json_type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"array of {_json_type(schema['items'])}"
    return str(schema.get("type", "any"))


def _type_name(annotation: Any) -> str:
    return {int: "number", str: "text", bool: "true or false"}.get(
        annotation, getattr(annotation, "__name__", str(annotation))
    )


def _bounds(info: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "max_length": "length ≤"}
    found = [
        f"{sign} {getattr(part, name)}"
        for part in info.metadata
        for name, sign in signs.items()
        if getattr(part, name, None) is not None
    ]
    return ", ".join(found) or NONE
