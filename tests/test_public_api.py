"""The Python interface: what it is, that its examples run, and that its names stay functions."""

import doctest
import importlib
import inspect
import pkgutil
import shutil
from pathlib import Path

import edgeprune
from edgeprune.base import errors
from tests.support.e2e import Built


def test_what_is_public_is_pinned() -> None:
    assert edgeprune.__all__ == ["build", "load", "load_onnx"]
    assert Path(edgeprune.__file__).with_name("py.typed").is_file()


def test_names_stay_functions_once_every_module_is_imported() -> None:
    for module in pkgutil.walk_packages(edgeprune.__path__, "edgeprune."):
        importlib.import_module(module.name)
    for name in edgeprune.__all__:
        assert inspect.isfunction(getattr(edgeprune, name)), f"a module edgeprune.{name} would hide the function"


def test_build_is_called_twice_and_loads_what_it_made(built: Built, tmp_path: Path) -> None:
    options = {
        "data": str(built.data), "pipeline": str(built.pipeline), "target": str(built.target), "release": "1.4.0",
        "task": "text-classification", "store": built.store, "output": tmp_path, "offline": True,
    }  # fmt: skip
    first, second = (edgeprune.build(str(built.model), **options) for _ in range(2))  # type: ignore[arg-type]
    assert first.package.sha256 == second.package.sha256 == built.report["package"]["sha256"]
    model = edgeprune.load(built.artifact("finetune").path)
    assert model.config.model_type == "bert"
    assert not model.training


def test_the_examples_of_the_docstrings_run(built: Built, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    """With the tiny model in the place of the reader's own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(built.model, "my-model")
    Path("reviews.jsonl").symlink_to(built.data)
    Path("tiny.yaml").write_text(built.pipeline.read_text(encoding="utf-8"), encoding="utf-8")
    Path("board.yaml").write_text(built.target.read_text(encoding="utf-8"), encoding="utf-8")
    finder = doctest.DocTestFinder(recurse=False)
    found = [test for name in edgeprune.__all__ for test in finder.find(getattr(edgeprune, name), name)]
    assert [bool(test.examples) for test in found] == [True, True, True]
    for test in found:
        said: list[str] = []
        result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
        assert result.failed == 0, "".join(said)


def test_every_error_has_a_code() -> None:
    found = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.EdgepruneError)]
    assert len(found) > 5
    assert all(one.exit_code in {1, 2, 3, 4, 5, 6, 7, 8, 130} for one in found)
