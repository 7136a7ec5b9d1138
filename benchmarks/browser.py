"""Time a package in the browser by turns with the dense model in fp32 and in the int8 that transformers.js ships.

    python benchmarks/browser.py PACKAGE .edgeprune/export/KEY/model.onnx --texts texts.txt
    python benchmarks/browser.py PACKAGE .edgeprune/export/KEY/model.onnx --texts texts.txt --set target.workload.lengths=128

PACKAGE was built for the target `web`. KEY is that of the dense model's export (`export 0` in its build.json). The int8 graph is
made of it as transformers.js's scripts/quantize.py makes `model_quantized.onnx` of a BERT (mode q8, its own defaults): dynamic, int8
weights with one scale for a whole tensor, 8-bit activations, in every operator that ONNX Runtime quantizes, lookups included. The
script's own clean-up with onnxslim is left out. All three are given the same token ids, one text at a time, and take turns of
ten runs in fresh browsers; memory, cold start and download are read in browsers that have one model alone. The cold start is from
the navigation to the first answer, over loopback: what the network takes comes on top.
"""

import argparse
import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic

from edgeprune.benchmark.compare import compare
from edgeprune.benchmark.measure import measure
from edgeprune.benchmark.package_workload import contents_of, package_load
from edgeprune.benchmark.statistics import process_ratio
from edgeprune.devices.runner import runner_of
from edgeprune.profiles.pipeline import BLOCK, BenchmarkConfig
from edgeprune.profiles.session_options import SessionOptions
from edgeprune.profiles.shipped import load_target
from edgeprune.store.package import description

PACKAGE = "package"


def as_transformers_js(dense: Path, made: Path) -> Path:
    """Quantize a graph as transformers.js's own script does."""
    quantize_dynamic(
        dense,
        made,
        per_channel=False,
        reduce_range=False,
        weight_type=QuantType.QInt8,
        extra_options={"EnableSubgraph": True, "MatMulConstBOnly": True},
    )
    return made


def main() -> None:
    """Time all three, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("dense", type=Path, help="the dense model's export")
    parser.add_argument("--texts", type=Path, help="one text a line; the package's goldens if it is left out")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--set", action="append", default=[], help="an override of the target")
    arguments = parser.parse_args()
    target, described = load_target("web", arguments.set), description(arguments.package)
    lines = arguments.texts and arguments.texts.read_text(encoding="utf-8").splitlines()
    contents = contents_of(arguments.package, described, lines)
    package = package_load(arguments.package, described, contents, arguments.samples, target)
    plain = SessionOptions(threads=target.runtime.threads)
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(runner_of(target)) as runner:
        quantized = as_transformers_js(arguments.dense, Path(folder) / "model.onnx")
        loads = {
            "dense, fp32": replace(package, path=arguments.dense, session=plain),
            "dense, int8 as transformers.js": replace(package, path=quantized, session=plain),
            PACKAGE: package,
        }
        found = measure(
            runner,
            loads,
            BenchmarkConfig(processes=arguments.processes, samples=arguments.samples),
            provider=target.runtime.provider,
            parallel=1,
            samples=Path(folder) / "samples.jsonl",
            undecided=lambda _: False,
            progress=lambda *_: None,
        )
    device = found.device_row
    print(f"{device.cpu}, onnxruntime-web {device.onnxruntime}, {device.system}, clock of {device.clock_ns} ns\n")
    print("| model | p50 ms | times the package's | | p90 ms | download MB | with gzip | cold start ms | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    samples = found.turns.samples_ms
    for name, load in loads.items():
        row = found.row(
            name,
            provider=target.runtime.provider,
            threads=load.session.threads,
            workload=target.workload,
            lengths="texts",
        )
        ratio, interval = process_ratio(samples[name], samples[PACKAGE], block=BLOCK)
        within = "" if interval is None else f"[{interval[0]:.2f}, {interval[1]:.2f}] {compare(interval)}"
        times = ("", "") if name == PACKAGE else (f"{ratio:.2f}", within)
        figures = [row.p50_ms, row.p90_ms, row.download_mb, row.download_gzip_mb, row.cold_start_ms, row.peak_memory_mb]
        p50, p90, *others = ["" if one is None else f"{one:.3g}" if one < 100 else f"{one:.0f}" for one in figures]
        print(f"| {' | '.join([name, p50, *times, p90, *others])} |")


if __name__ == "__main__":
    main()
