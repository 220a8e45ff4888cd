"""Dotted overrides of a configuration tree; errors name the path and the nearest legal key.

The command line (`train.ritc.loss.area=0.1`) and Ray Tune (`{"train.ritc.loss.area": …}`) go
through the same functions.
"""

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from qaclims_ray.config.renamed import RENAMED

Tree = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


def parse_overrides(items: Sequence[str]) -> Tree:
    """Turn `["train.seed=1", …]` into `{"train.seed": 1, …}`; values are read as YAML.

    Raises:
        ValueError: an item without `=`.
    """
    overrides: Tree = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ValueError(
                f"override {item!r}: expected key=value with a dotted key, such as train.seed=1, "
                "without spaces around '='; quote a value that holds spaces"
            )
        overrides[key] = parse_yaml(value, f"override {item!r}")
    return overrides


def parse_yaml(text: str, source: str) -> Any:
    """Plain data of a YAML text.

    Raises:
        ValueError: it is no YAML; `source` says which text.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is no YAML: {error}") from None


def with_overrides(tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> Tree:
    """Return a copy of `tree` with dotted keys set: `{"train.ritc.loss.area": 0.1}`.

    Raises:
        ValueError: a key that leads through a value rather than a section.
    """
    result = deepcopy(dict(tree))
    for dotted, value in overrides.items():
        *sections, field = dotted.split(".")
        node = result
        for name in sections:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise ValueError(f"override {dotted!r}: {name!r} is a value, not a section")
        node[field] = deepcopy(value)
    return result


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `(dotted key, value)` of every leaf of a nested mapping."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line `key: old → new` for each leaf in which two trees differ."""
    before, after = dict(flatten(old)), dict(flatten(new))
    keys = [*before, *(key for key in after if key not in before)]
    absent = "(absent)"
    return [
        f"{key}: {before.get(key, absent)} → {after.get(key, absent)}"
        for key in keys
        if before.get(key, absent) != after.get(key, absent)
    ]


def validate(model: type[Model], tree: Mapping[str, Any], source: str) -> Model:
    """Validate `tree` as `model`, turning every error into a line that a user can act on.

    A text that begins with `~/` is a path in the user's home folder.

    Args:
        model: The section that the tree must be.
        tree: Plain data, as read from YAML.
        source: What to call the tree in messages, such as a file name.

    Raises:
        ValueError: one line for each wrong key or value.
    """
    try:
        return TypeAdapter(model).validate_python(_at_home(tree))
    except ValidationError as error:
        schema = model.model_json_schema()
        tags = {  # of the unions in its sections
            tag
            for section in (schema, *schema.get("$defs", {}).values())
            for field in section.get("properties", {}).values()
            for tag in field.get("discriminator", {}).get("mapping", {})
        }
        legal = _legal_keys(schema)
        lines = [_explain(dict(problem), legal, tags) for problem in error.errors()]
        raise ValueError(f"{source}:\n  " + "\n  ".join(lines)) from None


def _at_home(value: Any) -> Any:
    """Expand `~/` at the beginning of texts, however deep: no shell does after `key=`."""
    match value:
        case str():
            return os.path.expanduser(value) if value.startswith("~/") else value
        case Mapping():
            return {key: _at_home(one) for key, one in value.items()}
        case list() | tuple():
            return [_at_home(one) for one in value]
        case _:
            return value


def _explain(problem: Tree, legal: set[str], tags: set[str]) -> str:
    # Pydantic puts the alternative of a union that it tried into the path: its tag, such as
    # "demo" in data.demo.split, or a type, such as "literal['answers']".
    *sections, field = [str(part) for part in problem["loc"] if "[" not in str(part)] or ["(all)"]
    path = ".".join([*(part for part in sections if part not in tags), field])
    if problem["type"] == "extra_forbidden":
        if path in RENAMED:
            return f"{path} is now {RENAMED[path]}"
        nearest = difflib.get_close_matches(path, sorted(legal - {path}), 1, 0.5)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        return f"{path}: unknown key{hint}"
    if problem["type"] == "missing":
        return f"{path}: required, but not given"
    return f"{path}: {problem['msg']} (got {problem['input']!r})"


def _legal_keys(schema: Tree) -> set[str]:
    """All dotted keys that a JSON schema of sections admits."""
    definitions = schema.get("$defs", {})

    def walk(node: Tree, prefix: str) -> Iterator[str]:
        """Keys below a node; unions and references are followed."""
        for option in [node, *node.get("oneOf", []), *node.get("anyOf", [])]:
            target = definitions.get(option.get("$ref", "").rpartition("/")[2], option)
            if option is not node and target is not option:
                yield from walk(target, prefix)
            for key, child in target.get("properties", {}).items():
                yield f"{prefix}{key}"
                yield from walk(child, f"{prefix}{key}.")

    return set(walk(schema, ""))
