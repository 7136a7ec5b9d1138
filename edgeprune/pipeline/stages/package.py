"""package: put the target's graph into a folder and an archive that run without edgeprune.

They need onnxruntime, numpy, and tokenizers or Pillow. The stage writes `<name>-<release>-<target>/` and its `.tar.gz`.
They hold only what the inputs determine: no times, hosts or paths. So the same inputs give the same bytes. Before the
archive is made, the package answers rows of the test split (`package_guard.py`):

    onnx/model.onnx | edgeprune.onnx           the model
    edgeprune.json                             what is needed to use it
    tokenizer.json | preprocessor_config.json  how texts or images are read
    run.py preprocess.py postprocess.py        texts or images in, answers out
    package_files.py                           reads edgeprune.json and goldens.json for run.py
    config.json modules.json …                 what other programs look for beside the model (`package_loaders.py`)
    goldens.json                               inputs and outputs that `edgeprune verify` and `run.py --check` replay
    lineage.json                               every ancestor's key and digests
    README.md LICENSE…                         model card; the model's licence if it has one
    SHA256SUMS                                 the digest of every other file
"""

import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from edgeprune.base.events import Note
from edgeprune.base.strict_yaml import Frozen
from edgeprune.models.own_card import OwnCard, read_own_card
from edgeprune.ondevice import agent, package_files
from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.pipeline.stages.card_data import HubNames
from edgeprune.pipeline.stages.cascade import answered_early
from edgeprune.pipeline.stages.package_card import model_card
from edgeprune.pipeline.stages.package_guard import require_same_answers
from edgeprune.pipeline.stages.package_loaders import write_loader_files
from edgeprune.profiles.pipeline import PackageConfig
from edgeprune.profiles.precision import tolerance_elsewhere
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.target import Runtime
from edgeprune.profiles.variant import Layout, Variant, read_variant
from edgeprune.store.archive import archive
from edgeprune.store.files import total_bytes
from edgeprune.store.package import write_digests
from edgeprune.store.records import Artifact, StageMetrics
from edgeprune.tasks.registry import ondevice_modules

if TYPE_CHECKING:
    from edgeprune.tasks.prepared import Prepared

__all__ = ["Package", "PackageName", "package_folder"]

_ASSETS = Path(__file__).parents[2] / "ondevice"
_READER_FILES = ("tokenizer.json", "preprocessor_config.json")
_CODE = ("run.py", "package_files.py")
_GRAPHS: dict[Layout, str] = dict(zip(("portable", "bare"), package_files.GRAPHS, strict=True))


class PackageName(Frozen):
    """Name a package."""

    name: str
    release: str
    target: str

    @property
    def folder(self) -> str:
        """Name of the package's folder: `<name>-<release>-<target>`."""
        return f"{self.name}-{self.release}-{self.target}"


class Package(Stage):
    """Assemble a package.

    Args:
        config: The pipeline's `stages.package`.
        name: The package's name, release and target.
        runtime: The target's provider and threads.
        hub: What it is made from, as far as the hub knows it.
        lineage: Roles of the parents that are recorded as ancestors, in their order.
        round_number: The round of the package's checkpoint.
    """

    name = "package"
    version = 15
    libraries = ("onnxruntime", "tokenizers", "numpy", "huggingface-hub", "jinja2")
    roles = ("dense", "model")

    def __init__(
        self,
        config: PackageConfig,
        *,
        name: PackageName,
        hub: HubNames,
        runtime: Runtime,
        lineage: tuple[str, ...],
        round_number: int,
    ) -> None:
        self.round = round_number
        self._ancestors = lineage
        self._config = config
        self._name = name
        self._hub = hub
        self._runtime = runtime
        self.produces = (name.folder, f"{name.folder}.tar.gz")

    def fingerprint(self) -> dict[str, JsonValue]:
        device = agent.device_info()
        return {
            # What lies beside the package changes nothing in it.
            "config": self._config.model_dump(mode="json", exclude={"examples", "page", "tokenizer"}),
            "name": self._name.model_dump(mode="json"),
            "hub": self._hub.model_dump(mode="json"),
            "runtime": self._runtime.model_dump(mode="json"),
            # Goldens depend on the instruction set that computes them.
            "goldens_on": [device["arch"], list(device["isa"])],
        }

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.graph.requirements import oldest_runtime
        from edgeprune.graph.serialization import copy_graph
        from edgeprune.models.oldest_tokenizers import oldest_tokenizers
        from edgeprune.ondevice.run import Model
        from edgeprune.tasks.prepared import OUTPUTS, load_outputs, open_prepared

        variant = read_variant(work.parents["model"])
        assert variant is not None  # noqa: S101 (quantize always says which it made)
        session = variant.session_on(self._runtime.threads)
        reader = work.parents["model"].file("reader")
        prepared = open_prepared(work.parents["dense"], work.data, splits=("test",), reader=reader)
        task = prepared.task
        folder = work.folder / self._name.folder
        folder.mkdir()
        graph = folder / _GRAPHS[self._config.layout]
        graph.parent.mkdir(exist_ok=True)
        weights_beside = copy_graph(work.parents["model"].file("model.onnx"), graph)
        for name in _READER_FILES:
            if (reader / name).is_file():
                shutil.copyfile(reader / name, folder / name)
        preprocess, postprocess = ondevice_modules(task.spec.task)
        for name in _CODE:
            shutil.copyfile(_ASSETS / name, folder / name)
        for code, name in ((preprocess, "preprocess.py"), (postprocess, "postprocess.py")):
            shutil.copyfile(str(code.__file__), folder / name)
        for path in work.model.licences:
            shutil.copyfile(path, folder / path.name)
        tokenizer = folder / "tokenizer.json"
        oldest = {
            "onnxruntime": oldest_runtime(graph),
            "tokenizers": oldest_tokenizers(tokenizer) if tokenizer.is_file() else None,
        }
        own = read_own_card(work.model)
        description = self._description(prepared, variant, session, oldest, own)
        _write_json(folder / "edgeprune.json", description)
        checkpoints = (work.parents[role].file("checkpoint") for role in reversed(self._ancestors))
        checkpoint = next(path for path in checkpoints if path.is_dir())
        if self._config.layout == "portable":
            write_loader_files(
                folder,
                checkpoint=checkpoint,
                reader=reader,
                spec=task.spec,
                weights_beside=weights_beside,
            )
        _write_json(folder / "lineage.json", self._lineage(work))
        card = model_card(
            work,
            prepared,
            variant,
            checkpoint=checkpoint,
            name=self._name.name,
            release=self._name.release,
            target=self._name.target,
            session=session,
            oldest=oldest,
            goldens=self._config.goldens,
            own=own,
            hub=self._hub,
            layout=self._config.layout,
        )
        (folder / "README.md").write_text(card, encoding="utf-8")

        model = Model(
            folder,
            threads=1,
            provider="CPUExecutionProvider",
            preprocess=preprocess,
            postprocess=postprocess,
        )
        device, early = agent.device_info(), answered_early(work.parents["model"])
        _write_json(
            folder / "goldens.json",
            {
                "schema_version": package_files.SCHEMA_VERSION,
                "arch": device["arch"],
                "isa": list(device["isa"]),
                "onnxruntime": metadata.version("onnxruntime"),
                "tolerance": tolerance_elsewhere(variant.precision.mode),
                "goldens": [
                    model.golden(content) for content in _golden_contents(prepared, self._config.goldens, early)
                ],
            },
        )
        if not require_same_answers(folder, prepared, load_outputs(work.parents["model"].file(OUTPUTS))["test"]):
            work.emit(Note("no row of test can be given to run.py on a command line, so its answers were not compared"))
        write_digests(folder)
        archive(folder, work.folder / f"{self._name.folder}.tar.gz")
        made_from = work.parents["model"].manifest.metrics
        return StageMetrics(parameters=made_from.parameters, model_bytes=total_bytes([folder]), metric=made_from.metric)

    def _description(
        self,
        prepared: "Prepared",
        variant: Variant,
        session: SessionOptions,
        oldest: dict[str, str | None],
        own: OwnCard,
    ) -> dict[str, Any]:
        spec = prepared.task.spec
        unpadded = "unpadded" in variant.rewrites
        return {
            "schema_version": package_files.SCHEMA_VERSION,
            "name": self._name.name,
            "release": self._name.release,
            "target": self._name.target,
            "task": spec.task,
            "problem_type": spec.problem_type,
            "labels": list(spec.labels),
            "graph": _GRAPHS[self._config.layout],
            "inputs": [name for name in spec.inputs if not (unpadded and name == "attention_mask")],
            "outputs": list(prepared.task.output_names),
            **prepared.task.reading(prepared.reader),
            "unanswerable": spec.unanswerable,
            "precision": variant.precision.model_dump(mode="json"),
            "rewrites": list(variant.rewrites),
            "provider": self._runtime.provider,
            "oldest_onnxruntime": oldest["onnxruntime"],
            "oldest_tokenizers": oldest["tokenizers"],
            "session": session.model_dump(mode="json"),
            "licence": own.licence,
        }

    def _lineage(self, work: Work) -> dict[str, JsonValue]:
        return {
            "schema_version": 1,
            "model": {"name": work.model.name, "digest": work.model.digest},
            "data": {"digest": work.data.digest},
            "seed": work.seed,
            "stages": [
                {
                    "id": role,
                    "stage": artifact.manifest.stage,
                    "key": artifact.key,
                    "parents": dict(artifact.manifest.parents),
                    "config": artifact.manifest.config,
                    "libraries": dict(artifact.manifest.environment.libraries),
                    "files": {record.path: record.sha256 for record in artifact.manifest.files},
                }
                for role in self._ancestors
                for artifact in [work.parents[role]]
            ],
        }


def package_folder(artifact: Artifact) -> Path:
    """Find the package's folder in a package artifact."""
    (script,) = artifact.path.glob("*/run.py")
    return script.parent


def _write_json(path: Path, content: dict[str, JsonValue]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _golden_contents(prepared: "Prepared", count: int, early: list[int]) -> list[Any]:
    """Choose test rows for goldens, in the form that run.py is given.

    Args:
        prepared: The task and the test rows.
        count: How many rows are chosen.
        early: The rows that a first stage answers. If there are such rows and others, half of the goldens are of each kind,
            so that they reach both branches of the graph.
    """
    contents = prepared.test.contents
    late = sorted(set(range(len(contents))) - set(early))
    first = min(len(early), max(count // 2, count - len(late)))
    rows = [*prepared.spread(first, early), *prepared.spread(count - first, late)]
    return [prepared.task.golden(contents[row], prepared.reader) for row in rows]
