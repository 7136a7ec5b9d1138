"""Measure what a package is made of, and what has to be installed to run it.

    python benchmarks/size.py dist/my-model-0-cpu-x86-avx512-vnni.build.json

Prints three Markdown tables. The first has the package's bytes by part. A graph's weights are its tables (what a Gather or a
GatherBlockQuantized takes rows of), those of its products, and the rest; what is left of the file is the graph's
structure. The second has the whole package beside the dense fp32 checkpoint of the same build, and the points lost. The third has the
bytes of the libraries that `run.py` imports, as they are installed here, without compiled Python: each alone, and everything
that pip installs with it.
"""

import argparse
from collections import Counter
from importlib import metadata
from pathlib import Path

import onnx_ir
from packaging.requirements import Requirement

from edgeprune.report.headline import shipped_metric
from edgeprune.report.records import BuildReport

LIBRARIES = {"text": ("onnxruntime", "tokenizers", "numpy"), "image": ("onnxruntime", "pillow", "numpy")}
TABLES = ("Gather", "GatherBlockQuantized")
PRODUCTS = (
    "MatMul",
    "Gemm",
    "MatMulInteger",
    "MatMulNBits",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
    "QLinearMatMul",
)
FEW_BYTES = 1024
"""Shapes, axes and the like: no weights."""


def graph_parts(path: Path) -> Counter[str]:
    """Count a graph's bytes by part, those of its branches too."""
    parts: Counter[str] = Counter()
    graph = onnx_ir.load(path).graph
    for value in [value for one in (graph, *graph.subgraphs()) for value in one.initializers.values()]:
        readers = [use.node for use in value.uses()]
        # A table or a weight may be dequantized first.
        behind = [use.node for node in readers if node.op_type == "DequantizeLinear" for use in node.outputs[0].uses()]
        kinds, size = {node.op_type for node in (*readers, *behind)}, value.const_value.nbytes
        if kinds & set(TABLES) and size > FEW_BYTES:
            parts["graph: tables"] += size
        elif kinds & set(PRODUCTS):
            parts["graph: products"] += size
        else:
            parts["graph: other numbers"] += size
    files = [path, *path.parent.glob(f"{path.name}.data")]
    parts["graph: structure"] = sum(file.stat().st_size for file in files) - sum(parts.values())
    return parts


def package_parts(folder: Path) -> Counter[str]:
    """Count a package's bytes by part."""
    parts: Counter[str] = Counter()
    for path in folder.rglob("*"):
        if path.suffix == ".onnx":
            parts += graph_parts(path)
        elif path.is_file() and not path.name.endswith(".onnx.data"):
            known = path.name if path.name == "tokenizer.json" else "code" if path.suffix == ".py" else "the rest"
            parts[known] += path.stat().st_size
    return parts


def installed(library: str) -> dict[str, int]:
    """Count the bytes of a library and of all that it requires, by the distribution's name."""
    found: dict[str, int] = {}
    left = [library]
    while left:
        name = left.pop().lower().replace("_", "-")
        if name in found:
            continue
        files = metadata.files(name) or []
        found[name] = sum(size for file in files if file.suffix != ".pyc" and (size := _size(file)))
        wanted = [Requirement(one) for one in metadata.requires(name) or []]
        left += [one.name for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def _size(file: metadata.PackagePath) -> int:
    path = Path(str(file.locate()))
    return path.stat().st_size if path.is_file() else 0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="the build.json of the package, which lies beside it")
    arguments = parser.parse_args()
    report = BuildReport.model_validate_json(arguments.build.read_bytes())
    folder = arguments.build.with_name(Path(report.package.path).name)
    parts = package_parts(folder)
    print("| part | bytes |\n|---|---|")
    for name, size in sorted(parts.items()):
        print(f"| {name} | {size:,} |")
    print(f"| all | {sum(parts.values()):,} |")
    dense = next(one for one in report.stages if one.stage == "prepare").size_bytes or 0
    final = shipped_metric(report)
    assert final is not None
    assert final.drop is not None
    assert final.drop_interval is not None
    low, high = final.drop_interval
    print("\n| | bytes | times smaller than the dense fp32 checkpoint |\n|---|---|---|")
    archive = folder.with_name(f"{folder.name}.tar.gz").stat().st_size
    for name, size in (("dense fp32 checkpoint", dense), ("package", sum(parts.values())), ("its archive", archive)):
        print(f"| {name} | {size:,} | {dense / size:.1f} |")
    print(f"\npoints lost on {final.samples} test rows: {100 * final.drop:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]")
    print("\n| library | MB | with all that it requires |\n|---|---|---|")
    everything: dict[str, int] = {}
    names = LIBRARIES["image" if (folder / "preprocessor_config.json").exists() else "text"]
    for name in names:
        found = installed(name)
        everything |= found
        print(f"| {name} {metadata.version(name)} | {found[name] / 1e6:.1f} | {sum(found.values()) / 1e6:.1f} |")
    alone = sum(everything[name] for name in names)
    print(f"| all, once each | {alone / 1e6:.1f} | {sum(everything.values()) / 1e6:.1f} |")


if __name__ == "__main__":
    main()
