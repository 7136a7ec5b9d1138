"""Fixtures that every test file shares: tiny random models, synthetic data, and a pipeline that fits them.

Nothing here needs the network; the libraries are told so before they are imported.
"""

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from edgeprune.tasks.registry import TaskName
    from tests.support.android import Phone
    from tests.support.e2e import Built
    from tests.support.graphs import RawExport
    from tests.support.sshd import Board
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"
if "EDGEPRUNE_TESTS_CACHE" not in os.environ:  # pytest-xdist's workers share the one of the process that started them
    os.environ["EDGEPRUNE_TESTS_CACHE"] = tempfile.mkdtemp(prefix="edgeprune-tests-")
    atexit.register(shutil.rmtree, os.environ["EDGEPRUNE_TESTS_CACHE"], ignore_errors=True)
os.environ["HF_DATASETS_CACHE"] = os.environ["EDGEPRUNE_TESTS_CACHE"]
# Builds for ARM boards are the same wherever tests run; test_emulated uses the folder that `make arm` made.
os.environ.setdefault("EDGEPRUNE_TESTS_ARM_ROOT", os.environ.get("EDGEPRUNE_ARM_ROOT", ".edgeprune-arm"))
os.environ["EDGEPRUNE_ARM_ROOT"] = "not-set-up"
# The same for pages; the fixture `node_modules` is the folder that `make browser` made.
os.environ.setdefault(
    "EDGEPRUNE_TESTS_NODE_MODULES", os.environ.get("EDGEPRUNE_NODE_MODULES", ".edgeprune-browser/node_modules")
)
os.environ["EDGEPRUNE_NODE_MODULES"] = "not-set-up"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Threads that wait sleep: tests share the cores with each other, and spinning makes a training five times as slow.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# The same examples on every machine, however slow; none are kept between runs.
settings.register_profile("edgeprune", deadline=None, derandomize=True, database=None, max_examples=60)
settings.load_profile("edgeprune")

MODEL_TYPES = (
    "bert", "roberta", "xlm-roberta", "electra", "distilbert", "albert", "mpnet", "deberta-v2", "modernbert"
)  # fmt: skip
"""Every family of texts in edgeprune's table of architectures; test_architectures holds them equal to it, with the next."""

IMAGE_MODEL_TYPES = ("vit",)
"""Every family of images."""

BAD = ("awful", "bad", "boring", "clumsy", "dull", "poor", "stale", "weak")
GOOD = ("bright", "clever", "fine", "good", "great", "lovely", "superb", "warm")
PLAIN = ("a", "actor", "and", "ending", "film", "of", "plot", "scene", "story", "the", "very", "was", "with")
UNUSED = ("absent", "distant", "elsewhere", "remote")
"""In the vocabulary, in no text."""
SPECIAL = {
    "bert": ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "roberta": ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"),
}
"""In the order of their ids, which RoBERTa has another one of: its padding is 1."""

_CLASS_PREFIX = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "electra": "Electra",
    "distilbert": "DistilBert",
    "albert": "Albert",
    "mpnet": "MPNet",
    "deberta-v2": "DebertaV2",
    "modernbert": "ModernBert",
    "vit": "ViT",
}

_OWN_CONFIG: dict[str, dict[str, object]] = {
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16},
    "deberta-v2": {
        "relative_attention": True, "position_buckets": 16, "norm_rel_ebd": "layer_norm", "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"], "position_biased_input": False,
    },
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2},
    "vit": {"image_size": 16, "patch_size": 4},
}  # fmt: skip
"""What makes a tiny model one of its family; DeBERTa as in its third version."""

PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}, "resample": 2,
    "do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
}  # fmt: skip
"""preprocessor_config.json of the tiny models of images."""

TINY_PIPELINE = """\
schema_version: 1
name: tiny
description: Half of a tiny random model's heads and neurons, one epoch each
seed: 0
rounds: 1
stages:
  prepare: {epochs: 1, learning_rate: 3.0e-3, batch_size: 8, max_length: 16}
  prune:
    steps:
      - {method: structured, keep_heads: 0.5, keep_ffn: 0.5, importance: fisher, allocation: global, align: 8}
  finetune: {epochs: 1, learning_rate: 3.0e-3, batch_size: 8}
  race: null
  benchmark: {processes: 1, samples: 64, warmup: 2}
"""

ModelFactory = Callable[..., Path]
DataFactory = Callable[..., Path]


TASKS: tuple["TaskName", ...] = (
    "text-classification", "token-classification", "question-answering", "fill-mask", "feature-extraction"
)  # fmt: skip
"""Every task on texts in edgeprune's table; test_registry holds them equal to it, with the next."""

IMAGE_TASKS: tuple["TaskName", ...] = ("image-classification", "image-feature-extraction")
"""Every task on images."""

CELLS = [(model_type, task) for model_type in MODEL_TYPES for task in TASKS] + [
    (model_type, task) for model_type in IMAGE_MODEL_TYPES for task in IMAGE_TASKS
]
"""Every family and task that transformers has a model for."""

_CELL = "test_a_family_goes_the_whole_way"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrix", action="store_true", help="print what test_families or tests/consumers found, as a table"
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.getoption("--matrix"):
        results = {
            report.nodeid.rpartition("[")[2].rstrip("]"): outcome
            for outcome in ("passed", "failed", "skipped")
            for report in terminalreporter.stats.get(outcome, ())
            if _CELL in report.nodeid
        }
        if results:
            terminalreporter.write_line("\n" + matrix(results))


def matrix(results: dict[str, str]) -> str:
    """A Markdown table, a row a family and a column a task, of outcomes by `family-task`; — where there is no such model."""
    shown = {"passed": "✓", "failed": "fails", "skipped": "skipped"}
    columns = (*TASKS, *IMAGE_TASKS)
    rows = [
        [
            model_type,
            *(
                shown.get(results.get(f"{model_type}-{task}", ""), "not run") if (model_type, task) in CELLS else "—"
                for task in columns
            ),
        ]
        for model_type in (*MODEL_TYPES, *IMAGE_MODEL_TYPES)
    ]
    lines = [["family", *columns], ["---"] + [":-:"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory) -> ModelFactory:
    """`tiny_model_folder(model_type="bert", head="ForSequenceClassification", labels=2, layers=2, seed=0, spare=0)` → a folder.

    A checkpoint: a random encoder (2 layers, hidden 32, 4 heads of 8, 128 FFN neurons) with a WordPiece tokenizer for the words of
    `tiny_data`. `head` is the class name's suffix: ForSequenceClassification, ForMaskedLM or Model. Folders are made
    once a session and shared: copy one before changing it. `spare` words of the vocabulary are in no text. A model of images
    takes 16 x 16 pixels, in patches of 4.
    """
    made: dict[tuple[str, str, int, int, int, int], Path] = {}

    def make(
        model_type: str = "bert",
        head: str = "ForSequenceClassification",
        *,
        labels: int = 2,
        layers: int = 2,
        seed: int = 0,
        spare: int = 0,
    ) -> Path:
        wanted = (model_type, head, labels, layers, seed, spare)
        if wanted not in made:
            folder = tmp_path_factory.mktemp(f"{model_type}-{head}") / "tiny-model"
            _tiny_model(model_type, head, labels=labels, layers=layers, seed=seed, spare=spare).save_pretrained(folder)
            if model_type in IMAGE_MODEL_TYPES:
                (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR), encoding="utf-8")
            else:
                _tiny_tokenizer(model_type, spare).save_pretrained(folder)
            made[wanted] = folder
        return made[wanted]

    return make


def _tiny_model(model_type: str, head: str, *, labels: int, layers: int, seed: int, spare: int):  # noqa: ANN202 (any of transformers' classes)
    import torch
    import transformers

    prefix = _CLASS_PREFIX[model_type]
    sizes = (
        {"dim": 32, "n_heads": 4, "hidden_dim": 128, "n_layers": layers}
        if model_type == "distilbert"
        else {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 128, "num_hidden_layers": layers}
    )
    sizes |= _OWN_CONFIG.get(model_type, {})
    if model_type in IMAGE_MODEL_TYPES:
        config = getattr(transformers, f"{prefix}Config")(initializer_range=0.1, num_labels=labels, **sizes)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return getattr(transformers, f"{prefix}{head}")(config)
    vocabulary = _vocabulary(model_type, spare)
    config = getattr(transformers, f"{prefix}Config")(
        vocab_size=len(vocabulary),
        max_position_embeddings=66,
        pad_token_id=vocabulary["[PAD]"],
        bos_token_id=vocabulary["[CLS]"],
        eos_token_id=vocabulary["[SEP]"],
        initializer_range=0.1,
        num_labels=labels,
        **sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{prefix}{head}")(config)
    # As in a pretrained model, words of a kind have like vectors: a few steps are enough to tell them apart.
    with torch.no_grad():
        vectors = model.get_input_embeddings().weight
        vectors[[vocabulary[word] for word in GOOD]] += 1.0
        vectors[[vocabulary[word] for word in BAD], ::2] -= 1.0
    return model


def _vocabulary(model_type: str, spare: int) -> dict[str, int]:
    special = SPECIAL["roberta" if "roberta" in model_type or model_type == "mpnet" else "bert"]
    return {word: index for index, word in enumerate([*special, *BAD, *GOOD, *PLAIN, ".", *UNUSED[:spare]])}


def _tiny_tokenizer(model_type: str, spare: int):  # noqa: ANN202 (the import is heavy)
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = _vocabulary(model_type, spare)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    typed = ["token_type_ids"] if model_type in ("bert", "electra") else []
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", *typed, "attention_mask"],
        model_max_length=64,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


@pytest.fixture(scope="session")
def exported_graph(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`exported_graph(model_type)` → the fp32 graph of a classifier whose layers are pruned unevenly; shared: don't write to it."""
    from tests.support.graphs import export_uneven

    made: dict[str, Path] = {}

    def export(model_type: str) -> Path:
        if model_type not in made:
            model = _tiny_model(model_type, "ForSequenceClassification", labels=2, layers=2, seed=0, spare=0)
            path = tmp_path_factory.mktemp(f"{model_type}-graph") / "model.onnx"
            export_uneven(model, path, _tiny_tokenizer(model_type, 0).model_input_names)
            made[model_type] = path
        return made[model_type]

    return export


@pytest.fixture(scope="session")
def raw_export(tmp_path_factory: pytest.TempPathFactory) -> "RawExport":
    """`raw_export(model_type, inputs)` → the graph of `exported_graph` with these inputs, before anything is made plain."""
    from edgeprune.graph import export as exporting
    from tests.support.graphs import export_uneven

    made: dict[tuple[str, tuple[str, ...]], Path] = {}

    def export(model_type: str, inputs: Sequence[str]) -> Path:
        wanted = (model_type, tuple(inputs))
        if wanted not in made:
            model = _tiny_model(model_type, "ForSequenceClassification", labels=2, layers=2, seed=0, spare=0)
            path = tmp_path_factory.mktemp(f"{model_type}-raw-graph") / "model.onnx"
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(exporting, "_CLEAN_UPS", ())
                export_uneven(model, path, inputs)
            made[wanted] = path
        return made[wanted]

    return export


@pytest.fixture
def tiny_data(tmp_path: Path) -> DataFactory:
    """`tiny_data(rows=160, kind="single", name="data.jsonl", seed=0)` → a JSONL file of separable sentences.

    Labels by `kind`: single "neg" or "pos", by the sentence's one kind of telling words; multi a list of "neg", "pos",
    both or neither; regression the number of good words minus that of bad ones.
    """

    def make(rows: int = 160, *, kind: str = "single", name: str = "data.jsonl", seed: int = 0) -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in synthetic_rows(rows, kind, seed)), encoding="utf-8")
        return path

    return make


def synthetic_rows(rows: int, kind: str = "single", seed: int = 0) -> list[dict[str, object]]:
    generator = np.random.default_rng(seed)
    result: list[dict[str, object]] = []
    for row in range(rows):
        if kind == "single":
            good, bad = (3, 0) if row % 2 else (0, 3)
            label: object = "pos" if row % 2 else "neg"
        elif kind == "multi":
            good, bad = 2 * (row % 2), 2 * (row // 2 % 2)
            label = ["neg"] * bool(bad) + ["pos"] * bool(good)
        else:
            good, bad = int(generator.integers(4)), int(generator.integers(4))
            label = float(good - bad)
        plain = int(generator.integers(2, 7))
        words = [
            *generator.choice(GOOD, size=good),
            *generator.choice(BAD, size=bad),
            *generator.choice(PLAIN, size=plain),
        ]
        text = " ".join(str(word) for word in generator.permutation(words))
        result.append({"text": f"{text} .", "label": label})
    return result


@pytest.fixture(scope="session")
def tiny_pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline's YAML for the tiny models: prepare, prune by half, finetune, all in seconds."""
    path = tmp_path_factory.mktemp("pipeline") / "tiny.yaml"
    path.write_text(TINY_PIPELINE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: ModelFactory) -> "Built":
    """One finished build by the command line, shared by the end-to-end tests of every xdist worker; see e2e.py."""
    from tests.support.e2e import build_once

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return build_once(shared / "built", tiny_model_folder(head="Model"))


@dataclass
class Hub:
    """A model hub on this machine: one model repository, and every request that it was sent."""

    env: dict[str, str]
    """The environment in which a process takes this hub for the hub, with a cache of its own."""
    files: dict[str, bytes] = field(default_factory=dict)
    """The files of the model org/tiny, at its one commit."""
    requests: list[str] = field(default_factory=list)
    commit: str = "c" * 40


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A `Hub`, answering on a local port for as long as the test runs."""
    found = Hub(env={name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"})

    def digest(content: bytes) -> str:
        return hashlib.sha1(content, usedforsecurity=False).hexdigest()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.requests.append(self.path)
            prefix = f"/org/tiny/resolve/{found.commit}/"
            if self.path.startswith("/api/models/org/tiny/revision/"):
                siblings = [{"rfilename": name} for name in found.files]
                self.answer(json.dumps({"id": "org/tiny", "sha": found.commit, "siblings": siblings}).encode())
            elif self.path.startswith(f"/api/models/org/tiny/tree/{found.commit}?"):
                entries = [
                    {"type": "file", "path": name, "size": len(content), "oid": digest(content)}
                    for name, content in found.files.items()
                ]
                self.answer(json.dumps(entries).encode())
            elif self.path.startswith(prefix) and self.path.removeprefix(prefix) in found.files:
                self.answer(found.files[self.path.removeprefix(prefix)])
            else:
                self.answer(b"", status=404)

        do_HEAD = do_POST = do_GET  # noqa: N815 (the base class's names)

        def answer(self, body: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", digest(body))
            self.send_header("X-Repo-Commit", found.commit)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    from tests.support.local_server import answering

    with answering(Handler) as server:
        found.env |= {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path / "hub-cache"),
            "NO_PROXY": "127.0.0.1",
        }
        yield found


@pytest.fixture
def node_modules(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The packages of npm that pages need, where edgeprune looks for them; Chromium is there too."""
    from edgeprune.devices.browser import BrowserRunner
    from edgeprune.profiles.runners import BrowserConfig

    folder = Path(os.environ["EDGEPRUNE_TESTS_NODE_MODULES"]).absolute()
    monkeypatch.setenv("EDGEPRUNE_NODE_MODULES", str(folder))
    lacking = BrowserRunner(BrowserConfig(type="browser")).lacking
    if lacking is not None:
        pytest.skip(lacking)
    return folder


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Phone]":
    """A device that adb is connected to."""
    from tests.support import android
    from tests.support.sshd import free_port

    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(free_port()))
    monkeypatch.setenv("HOME", str(tmp_path))  # where adb keeps its key
    monkeypatch.setattr("edgeprune.devices.remote._PAUSES_S", (0.1, 0.2))
    with android.started(tmp_path) as found:
        yield found


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Board]":
    """A device that ssh can log in to."""
    from tests.support import sshd

    with sshd.started(tmp_path) as found:
        found.know()
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
        monkeypatch.setattr("edgeprune.devices.remote._PAUSES_S", (0.1, 0.2))
        yield found
