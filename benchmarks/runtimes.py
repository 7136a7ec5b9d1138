"""Find the versions of ONNX Runtime in which packages run, beside the oldest version that each package states.

    python benchmarks/runtimes.py PACKAGE... --versions 1.18.1,1.19.2,1.20.1,1.21.1,1.22.1,1.23.2

Every version is installed in a folder of its own (--folder, kept), with numpy 1, which all versions take. A package
runs if its own `run.py --check` passes: the package loads, and its goldens replay. Otherwise the table's last column
has what the check said.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

VERSIONS = "1.18.1,1.19.2,1.20.1,1.21.1,1.22.1,1.23.2"
BESIDE = (
    "numpy<2",
    "pillow",
    "tokenizers",
    "huggingface-hub",
    "flatbuffers",
    "protobuf",
    "packaging",
    "sympy",
    "mpmath",
    "coloredlogs",
)


def installed(folder: Path, version: str) -> Path:
    """Install one version of onnxruntime in a folder of its own."""
    place = folder / version
    if not place.is_dir():
        new = folder / f"{version}.new"
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(new)]
        subprocess.run([*pip, f"onnxruntime=={version}", *BESIDE], check=True)
        new.rename(place)
    return place


def complaint(package: Path, place: Path) -> str:
    """Read what a package's run.py says if its goldens don't replay with that version; empty if they do."""
    done = subprocess.run(
        [sys.executable, "-B", "-S", package / "run.py", "--check"],
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]


def main() -> None:
    """Try every package in every version, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="+", type=Path)
    parser.add_argument("--versions", default=VERSIONS)
    parser.add_argument("--folder", type=Path, default=Path(".runtimes"))
    arguments = parser.parse_args()
    versions = arguments.versions.split(",")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    places = {version: installed(arguments.folder, version) for version in versions}
    print(f"| package | precision, rewrites | says | {' | '.join(versions)} | |")
    print(f"|---|---|---|{'---|' * len(versions)}---|", flush=True)
    for package in arguments.packages:
        described = json.loads((package / "edgeprune.json").read_text(encoding="utf-8"))
        precision = described["precision"]
        kind = ", ".join([precision["mode"], f"embeddings {precision['embeddings']}", *described["rewrites"]])
        said = [complaint(package, places[version]) for version in versions]
        found = ["–" if one else "runs" for one in said] + ["; ".join(sorted({one[:100] for one in said if one}))]
        print(f"| {package.name} | {kind} | {described['oldest_onnxruntime']} | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
