"""Read pipelines and targets: shipped ones by name, a user's own by path, with overrides.

A bare name is a shipped definition, a path is the user's. Unknown keys, wrong types and numbers out of range are
refused together, each with its path.

    pipeline = load_pipeline("structured", ["stages.finetune.epochs=1"])
    target = load_target("cpu-x86-avx2", ["target.budget.size_mb=30"])
"""

import json
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Literal, TypeVar

from edgeprune.base.errors import ProfileError
from edgeprune.base.overrides import Override, parse_override, validate_overridden
from edgeprune.base.strict_yaml import read_yaml
from edgeprune.profiles.pipeline import Pipeline
from edgeprune.profiles.target import Target

__all__ = ["Kind", "is_path", "load_pipeline", "load_target", "schema", "shipped", "shipped_names"]


Kind = Literal["pipelines", "targets"]


_MODELS: dict[Kind, tuple[type[Pipeline] | type[Target], str]] = {
    "pipelines": (Pipeline, "pipeline"),
    "targets": (Target, "target profile"),
}


def load_pipeline(name: str, overrides: Sequence[str] = ()) -> Pipeline:
    """Load a shipped pipeline by name or the user's own by path. `--set target.…` overrides are skipped."""
    parsed = [parse_override(text) for text in overrides]
    return _load(Pipeline, "pipelines", name, [one for one in parsed if one.path[0] != "target"])


def load_target(name: str, overrides: Sequence[str | Override] = ()) -> Target:
    """Load a shipped target by name or the user's own by path. Only overrides of `target.…` are applied."""
    parsed = [parse_override(one) if isinstance(one, str) else one for one in overrides]
    return _load(Target, "targets", name, [one.below() for one in parsed if one.path[0] == "target"])


ModelT = TypeVar("ModelT", Pipeline, Target)


def _load(model: type[ModelT], kind: Kind, name: str, overrides: Sequence[Override]) -> ModelT:
    path = Path(name)
    if not is_path(name):
        path = shipped(kind) / f"{name}.yaml"
        if not path.is_file():
            near = get_close_matches(name, shipped_names(kind), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(shipped_names(kind))}."
            raise ProfileError(
                f"there is no {_MODELS[kind][1]} {name!r}; {hint} The path of one of your own ends in .yaml"
            )
    return validate_overridden(model, read_yaml(path), overrides, file=path, kind=_MODELS[kind][1])


def is_path(name: str) -> bool:
    """Tell whether a name is the path of the user's own definition, not the name of a shipped one."""
    return Path(name).suffix in (".yaml", ".yml") or "/" in name


def shipped(kind: Kind) -> Path:
    """Find the folder of shipped definitions: inside the package when installed from a wheel, else beside it."""
    inside = Path(__file__).parent / "definitions" / kind
    return inside if inside.is_dir() else Path(__file__).parents[2] / kind


def shipped_names(kind: Kind) -> list[str]:
    """List the names of the shipped definitions, sorted."""
    return sorted(path.stem for path in shipped(kind).glob("*.yaml"))


def schema(kind: Kind) -> str:
    """Write the JSON Schema of a kind of definition, for editors."""
    return json.dumps(_MODELS[kind][0].model_json_schema(), indent=2, sort_keys=True) + "\n"
