"""Merge the packages of one release, made for several targets, into one of ONNX Runtime's model packages.

Each target becomes a variant of its name, with the session options that its package won its race with. What several
targets have in common is kept once: the tokenizer or the image settings, and graphs that are the same. A variant's folder
has what belongs to its target alone, and nothing that is for the package as it was: code, model card, loaders' files.
"""

import contextlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgeprune.base.errors import IntegrityError, UsageError, storage_errors
from edgeprune.base.strict_yaml import Frozen
from edgeprune.base.wording import quoted
from edgeprune.ondevice.package_files import GRAPHS
from edgeprune.pipeline.naming import checked_name
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.store.files import file_records, sync, sync_tree, total_bytes
from edgeprune.store.model_packages import (
    COMPONENT,
    ExecutorInfo,
    OrtInfo,
    VariantBody,
    add_asset,
    is_model_package,
    write_manifests,
)
from edgeprune.store.package import check_digests, description, is_licence, opened, usable, write_digests
from edgeprune.store.ready import made_ready, replace_folder

__all__ = ["Merged", "MergedVariant", "merge"]

_DESCRIPTION = "edgeprune.json"
_GRAPH = GRAPHS[0]
_GRAPH_FILES = (_GRAPH, f"{_GRAPH}_data")
_READER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json")
_KEPT = ("goldens.json", "lineage.json")
"""Files of a package that a variant's folder has as they are, beside the model's licence."""
_OF_THE_TARGET = frozenset(
    {"target", "precision", "rewrites", "provider", "oldest_onnxruntime", "oldest_tokenizers", "session"}
)
"""What packages of one release may say differently in their edgeprune.json."""


class MergedVariant(Frozen):
    """Name a variant."""

    target: str
    provider: str
    graph: str
    """The graph's path in the model package."""
    selected: bool
    """Whether ONNX Runtime takes it where its provider is asked for: the first of each provider."""


class Merged(Frozen):
    """Report what was merged, as the document that `package merge --json` prints."""

    schema_version: Literal[1] = 1
    exit_code: Literal[0] = 0
    path: str
    name: str
    release: str
    task: str
    size_bytes: int
    variants: tuple[MergedVariant, ...]


@dataclass(frozen=True)
class _Given:
    """A package that is merged."""

    folder: Path
    shown: str
    config: dict[str, Any]
    model: str
    """The digest of the checkpoint that it was made of."""
    digests: dict[str, str]
    """Of its files."""

    @property
    def target(self) -> str:
        """The target that it was made for."""
        return str(self.config["target"])

    @property
    def graph(self) -> tuple[str | None, ...]:
        """What tells its graph, with the weights beside it, from another one."""
        return tuple(self.digests.get(name) for name in _GRAPH_FILES)

    def files(self, names: Sequence[str]) -> dict[str, Path]:
        """Those files among `names` that it has, by the last part of their names."""
        return {Path(name).name: self.folder / name for name in names if name in self.digests}


def merge(packages: Sequence[Path], output: Path) -> Merged:
    """Write a model package. One that stands at `output` is replaced; the same packages give the same bytes.

    One package is enough: an application that opens model packages then needs no other way for a release with one target.

    Args:
        packages: Folders or archives that `edgeprune build` wrote. ONNX Runtime can't tell two variants of one provider
            apart, and takes the first.
        output: The model package's folder.

    Raises:
        UsageError: A package isn't there, they don't belong together, or `output` is taken or overlaps with one of them.
        IntegrityError: A package isn't as it was made.
        StorageError: The folder can't be written.
    """
    place = Path(os.path.abspath(output))  # noqa: PTH100 (a link that stands there is replaced, not followed)
    if not packages:
        raise UsageError("there is no package to merge; give folders or archives that edgeprune build wrote")
    _require_free(place, packages, output)
    with contextlib.ExitStack() as stack:
        given = [_read(stack.enter_context(opened(path)), str(path)) for path in packages]
        _require_one_release(given)
        with storage_errors(output), made_ready(place.parent) as new:
            _require_free(place, packages, output)
            variants = _write(new / place.name, given)
            sync_tree(new)
            replace_folder(new / place.name, place, new / "replaced")
            sync(place.parent)
    first = given[0].config
    return Merged(
        path=str(output),
        name=first["name"],
        release=first["release"],
        task=first["task"],
        size_bytes=total_bytes([place]),
        variants=variants,
    )


def _require_free(place: Path, packages: Sequence[Path], output: Path) -> None:
    real = place.resolve()
    for package in (path.resolve() for path in packages):
        if real == package or real in package.parents or package in real.parents:
            raise UsageError(
                f"the model package would be written to {output}, over or into a package that is merged; choose another --output"
            )
    is_empty = place.is_dir() and not any(place.iterdir())
    if os.path.lexists(place) and not is_empty and not is_model_package(place):
        raise UsageError(
            f"{output} exists and is not a model package that edgeprune wrote; move it, or choose another --output"
        )


def _read(folder: Path, shown: str) -> _Given:
    check_digests(folder, shown)
    config = description(folder)
    for key in ("name", "release", "target"):
        if not isinstance(config.get(key), str):
            raise IntegrityError(f"{shown}: {_DESCRIPTION} has no text as {key}; use the edgeprune that made it")
    checked_name(f"{shown}: the target", config["target"])
    if config["target"] == "component.json":
        raise UsageError(f"{shown}: the target is called component.json, as a file of every model package; rename it")
    if config["graph"] != _GRAPH:
        raise UsageError(
            f"{shown} has a graph that only its own run.py can be trusted with (layout bare); merge packages that were built "
            f"with stages.package.layout: portable"
        )
    with usable(f"{shown}: lineage.json"):
        model = str(json.loads((folder / "lineage.json").read_text(encoding="utf-8"))["model"]["digest"])
    digests = {record.path: record.sha256 for record in file_records(folder)}
    if _GRAPH not in digests:
        raise IntegrityError(
            f"{shown}: {_DESCRIPTION} names {_GRAPH}, which isn't there; use the edgeprune that made it"
        )
    return _Given(folder, shown, config, model, digests)


def _require_one_release(given: Sequence[_Given]) -> None:
    first, *others = given
    for number, one in enumerate(given):
        same = next((other for other in given[:number] if other.target == one.target), None)
        if same is not None:
            raise UsageError(f"{same.shown} and {one.shown} are both for the target {one.target}; give one of them")
    for other in others:
        shared = [key for key in {**first.config, **other.config} if key not in _OF_THE_TARGET]
        for key in shared:
            if first.config.get(key) != other.config.get(key):
                raise UsageError(
                    f"{other.shown} has {key} {quoted(other.config.get(key))}, but {first.shown} has "
                    f"{quoted(first.config.get(key))}; merge packages of one model and one release"
                )
        if first.model != other.model:
            raise UsageError(
                f"{other.shown} was made of another model than {first.shown}; merge packages of one model and one release"
            )
        for name in _READER_FILES:
            if first.digests.get(name) != other.digests.get(name):
                raise UsageError(
                    f"{other.shown} has another {name} than {first.shown}; merge packages that read their inputs alike"
                )


def _write(folder: Path, given: Sequence[_Given]) -> tuple[MergedVariant, ...]:
    (folder / COMPONENT).mkdir(parents=True)
    reader = add_asset(folder, given[0].files(_READER_FILES))
    uses = Counter(one.graph for one in given)
    bodies: dict[str, VariantBody] = {}
    variants: list[MergedVariant] = []
    for one in given:
        variant = folder / COMPONENT / one.target
        variant.mkdir()
        for name in one.digests:
            if name in _KEPT or is_licence(name):
                shutil.copyfile(one.folder / name, variant / name)
        described = {key: value for key, value in one.config.items() if key != "graph"}  # component.json says it
        text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
        (variant / _DESCRIPTION).write_text(text, encoding="utf-8")
        graph = one.files(_GRAPH_FILES)
        if uses[one.graph] > 1:
            model_file = f"{add_asset(folder, graph)}/{Path(_GRAPH).name}"
            place = f"shared_assets/{model_file.replace(':', '-')}"
        else:
            (variant / _GRAPH).parent.mkdir()
            for name, path in graph.items():
                shutil.copyfile(path, (variant / _GRAPH).with_name(name))
            model_file, place = _GRAPH, f"{COMPONENT}/{one.target}/{_GRAPH}"
        session = SessionOptions.model_validate(one.config["session"])
        provider = one.config["provider"]
        bodies[one.target] = VariantBody(
            ep=provider,
            executor_info=ExecutorInfo(
                ort=OrtInfo(model_file=model_file, session_options=session.entries), edgeprune=_DESCRIPTION
            ),
        )
        is_first = all(variant.provider != provider for variant in variants)
        variants.append(MergedVariant(target=one.target, provider=provider, graph=place, selected=is_first))
    config = given[0].config
    write_manifests(
        folder,
        name=config["name"],
        version=config["release"],
        description=f"{config['task']}, made by edgeprune for {', '.join(bodies)}",
        variants=bodies,
        ours={"schema_version": 1, "task": config["task"], "labels": config["labels"], "reader": reader},
    )
    write_digests(folder)
    return tuple(variants)
