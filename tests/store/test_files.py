"""edgeprune/store/files.py; what stores do with it is in test_store."""

from pathlib import Path

from edgeprune.store.files import graph_files


def test_the_files_of_a_graph_are_it_and_its_weights(tmp_path: Path) -> None:
    for name in ("model.onnx", "model.onnx.data", "model.onnx_data", "model.ort", "other.onnx"):
        (tmp_path / name).touch()
    assert [path.name for path in graph_files(tmp_path / "model.onnx")] == [
        "model.onnx", "model.onnx.data", "model.onnx_data",
    ]  # fmt: skip
