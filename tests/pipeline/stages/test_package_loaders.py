"""edgeprune/pipeline/stages/package_loaders.py; tests/consumers opens whole packages with the loaders themselves."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from edgeprune.models.pooling import Pooling, read_pooling
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.models.sentence_settings import read_sentence_settings
from edgeprune.pipeline.stages.package_loaders import write_loader_files
from edgeprune.tasks.spec import TaskSpec
from tests.support.e2e import Built, call

CONFIG = {
    "model_type": "bert", "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128, "vocab_size": 900,
    "_name_or_path": "/home/somebody/model", "id2label": {"0": "no", "1": "yes"},
}  # fmt: skip
TOKENIZER = {
    "backend": "tokenizers", "is_local": True, "local_files_only": True, "max_length": 256, "stride": 0, "model_max_length": 512,
    "tokenizer_class": "TokenizersBackend", "extra_special_tokens": ["<brand>"], "pad_token": "[PAD]", "mask_token": None,
    "padding_side": "left", "truncation_side": "left",
}  # fmt: skip


def written(
    folder: Path,
    layers: list[tuple[int, int]] | None = None,
    *,
    vocabulary: int | None = None,
    hidden: int | None = None,
    config: dict[str, Any] = CONFIG,
    max_length: int | None = 16,
    pooling: Literal["mean", "cls"] | None = None,
    normalize: bool = False,
    weights_beside: bool = False,
) -> dict[str, Any]:
    """The files' content by name; `layers` has the heads and neurons of each layer that is left, None: it is dense."""
    checkpoint, package = folder / "checkpoint", folder / "package"
    checkpoint.mkdir()
    package.mkdir()
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (checkpoint / "tokenizer_config.json").write_text(json.dumps(TOKENIZER), encoding="utf-8")
    if layers is not None:
        record = PruningRecord(
            base_digest="0" * 64,
            head_dim=8,
            layers=tuple(
                LayerRecord(index=number, heads=tuple(range(heads)), neurons=tuple(range(neurons)))
                for number, (heads, neurons) in enumerate(layers)
            ),
            vocabulary=None if vocabulary is None else tuple(range(vocabulary)),
            hidden=None if hidden is None else tuple(range(hidden)),
        )
        (checkpoint / "pruning.json").write_text(record.model_dump_json(), encoding="utf-8")
    spec = TaskSpec(
        task="feature-extraction" if pooling else "text-classification", inputs=("input_ids", "attention_mask"),
        max_length=max_length, pooling=pooling, normalize=normalize,
    )  # fmt: skip
    write_loader_files(package, checkpoint=checkpoint, reader=checkpoint, spec=spec, weights_beside=weights_beside)
    files = [path for path in package.rglob("*") if path.is_file()]
    return {path.relative_to(package).as_posix(): json.loads(path.read_text(encoding="utf-8")) for path in files}


def test_a_dense_model_keeps_its_config_without_this_machines_paths(tmp_path: Path) -> None:
    added = {"transformers.js_config": {"dtype": "fp32", "use_external_data_format": False}}
    kept = {key: CONFIG[key] for key in CONFIG if key != "_name_or_path"}
    assert written(tmp_path)["config.json"] == {**kept, **added}


def test_transformers_js_is_told_of_weights_beside_the_graph(tmp_path: Path) -> None:
    found = written(tmp_path, weights_beside=True)["config.json"]["transformers.js_config"]
    assert found == {"dtype": "fp32", "use_external_data_format": True}


def test_sizes_have_the_names_of_most_families_too(tmp_path: Path) -> None:
    config = {"model_type": "distilbert", "dim": 32, "n_layers": 3}
    found = written(tmp_path, [(2, 96), (1, 96)], config=config)["config.json"]
    assert (found["n_layers"], found["num_hidden_layers"], found["dim"], found["hidden_size"]) == (2, 2, 32, 32)


@pytest.mark.parametrize(("pooling", "normalize"), [("mean", True), ("cls", False)])
def test_sentence_embeddings_say_how_states_are_pooled(
    tmp_path: Path, pooling: Literal["mean", "cls"], *, normalize: bool
) -> None:
    written(tmp_path, config={**CONFIG, "hidden_size": 32}, pooling=pooling, normalize=normalize)
    package = tmp_path / "package"
    assert read_pooling(package) == Pooling(pooling, normalize)
    settings = read_sentence_settings(package)
    assert (settings.max_length, settings.lowercase) == (16, False)


def test_sizes_that_the_family_can_say_are_the_pruned_models(tmp_path: Path) -> None:
    found = written(tmp_path, [(2, 96), (1, 96)], vocabulary=40)["config.json"]
    assert (found["num_hidden_layers"], found["intermediate_size"], found["vocab_size"]) == (2, 96, 40)
    assert found["num_attention_heads"] == 4, "heads as wide as hidden_size by their number: fewer can't be said"
    assert found["edgeprune"] == {
        "pruned": True, "head_width": 8, "layers": [{"heads": 2, "neurons": 96}, {"heads": 1, "neurons": 96}],
    }  # fmt: skip


@pytest.mark.parametrize(("hidden", "said"), [(16, 16), (18, 32)])
def test_a_hidden_size_that_the_dense_models_heads_divide_is_the_familys(
    tmp_path: Path, hidden: int, said: int
) -> None:
    """transformers refuses others."""
    config = {**CONFIG, "hidden_size": 32}
    files = written(tmp_path, [(2, 96)], hidden=hidden, config=config, pooling="mean")
    assert (files["config.json"]["hidden_size"], files["config.json"]["edgeprune"]["hidden_size"]) == (said, hidden)
    assert files["1_Pooling/config.json"]["word_embedding_dimension"] == hidden


def test_a_narrow_distilbert_says_so_in_its_own_words_too(tmp_path: Path) -> None:
    config = {"model_type": "distilbert", "dim": 32, "n_heads": 4, "n_layers": 1}
    found = written(tmp_path, [(2, 96)], hidden=16, config=config)["config.json"]
    assert (found["dim"], found["hidden_size"]) == (16, 16)


def test_widths_that_differ_stay_the_dense_models(tmp_path: Path) -> None:
    assert written(tmp_path, [(2, 96), (2, 32)])["config.json"]["intermediate_size"] == 128


def test_shared_layers_are_gone_through_as_often_as_before(tmp_path: Path) -> None:
    found = written(tmp_path, [(2, 96)], config={**CONFIG, "num_hidden_groups": 1})["config.json"]
    assert (found["num_hidden_layers"], found["intermediate_size"]) == (3, 96)


def test_the_tokenizer_is_said_in_words_of_transformers_4_and_5(tmp_path: Path) -> None:
    found = written(tmp_path)
    assert found["tokenizer_config.json"] == {
        "tokenizer_class": "PreTrainedTokenizerFast", "additional_special_tokens": ["<brand>"], "pad_token": "[PAD]",
        "mask_token": None, "padding_side": "right", "truncation_side": "left", "model_max_length": 16,
        "model_input_names": ["input_ids", "attention_mask"],
    }  # fmt: skip
    assert found["special_tokens_map.json"] == {"pad_token": "[PAD]"}


def test_images_have_no_tokenizer(tmp_path: Path) -> None:
    assert written(tmp_path, max_length=None).keys() == {"config.json"}


def test_a_bare_package_has_none_of_it(built: Built, tmp_path: Path) -> None:
    done = call(
        *built.arguments, "--store", built.store, "--output", tmp_path, "--set", "stages.package.layout=bare", "--json"
    )
    assert done.code == 0, done.err
    package = Path(done.document["package"]["path"])
    assert not {path.name for path in package.iterdir()} & {"config.json", "tokenizer_config.json", "onnx"}
    assert (package / "edgeprune.onnx").is_file()
    assert (package / "edgeprune.json").read_text(encoding="utf-8").count("right-padding") == 0
    assert call("verify", package).code == 0


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "special_tokens_map.json"])
def test_a_portable_package_has_all_of_it(built: Built, name: str) -> None:
    assert (built.package / name).is_file()
