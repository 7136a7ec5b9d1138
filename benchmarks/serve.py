"""Load `edgeprune serve` with 1, 8 and 64 clients, beside the same model called in a loop, by turns.

    python benchmarks/serve.py dist/PACKAGE
    python benchmarks/serve.py dist/PACKAGE --also="--batch-size 8" --also="--workers 2"

Each `--also` is one more server with these options, loaded in the same turns. Everything is on this machine, and the
clients share its cores with the server. A client has one connection, and sends its next request when it has the answer
to the last one. Requests a second are the median over turns, with the least and the most. Milliseconds are pooled. CPU
is what the server's process (or the bare loop's) used for a request; the clients' own is not in it. The bare loop calls
the model with one input at a time, as `run.py` does; its one request at a time has no HTTP and no JSON.

Equal is the share of answers that are those of the bare loop, to the last digit. Same is the share with the same label
(or whatever else the answer says beside numbers). Lost are requests without an answer of status 200; the script ends
with 1 if there is one.
"""

import argparse
import asyncio
import base64
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import edgeprune
from edgeprune.pipeline.package_model import Content, PackageModel
from edgeprune.store.package import goldens, opened

CLIENTS = (1, 8, 64)


@dataclass
class Row:
    """Hold what was measured of one server with one number of clients, or of the bare loop."""

    rates: list[float] = field(default_factory=list)
    """Requests a second, one number a turn."""
    seconds: list[float] = field(default_factory=list)
    """Of every request."""
    cpu_s: float = 0.0
    """CPU seconds of all requests together."""
    lost: int = 0
    equal: int = 0
    same: int = 0


def content_of(value: Any, model: PackageModel) -> Content:
    """Make what the model takes of what a golden, or a request, has."""
    if model.kind == "image":
        return base64.b64decode(value)
    return tuple(value) if model.pair else value


def said(answer: dict[str, Any]) -> str:
    """Give what an answer says beside its numbers."""
    return json.dumps(
        {key: value for key, value in answer.items() if isinstance(value, str | list) and key != "embedding"}
    )


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> tuple[int, Any]:
    """Send one request on an open connection, and give the status and the document of its answer."""
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(answer.partition(b"content-length: ")[2].split(b"\r\n")[0])
    return int(answer.split(b" ", 2)[1]), json.loads(await reader.readexactly(length))


def cpu_s(process: int) -> float:
    """Read the CPU seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(port: int, clients: int, requests: list[tuple[bytes, dict[str, Any]]], row: Row) -> None:
    """Send all requests by so many clients, and add what was found to the row."""
    waiting = iter(requests)

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body, expected in waiting:
            begin = time.perf_counter()
            try:
                status, document = await ask(reader, writer, body)
            except (OSError, asyncio.IncompleteReadError):
                row.lost += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                continue
            row.seconds.append(time.perf_counter() - begin)
            if status != 200 or len(document["answers"]) != 1:
                row.lost += 1
                continue
            row.equal += document["answers"][0] == expected
            row.same += said(document["answers"][0]) == said(expected)
        writer.close()
        await writer.wait_closed()

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    row.rates.append(len(requests) / (time.perf_counter() - begin))


def bare(model: PackageModel, contents: list[Content], row: Row) -> None:
    """Call the model with one input after the other."""
    begin, used = time.perf_counter(), time.process_time()
    for content in contents:
        once = time.perf_counter()
        model(content)
        row.seconds.append(time.perf_counter() - once)
    row.rates.append(len(contents) / (time.perf_counter() - begin))
    row.cpu_s += time.process_time() - used
    row.equal += len(contents)
    row.same += len(contents)


def started(package: Path, options: str) -> tuple[subprocess.Popen[str], int]:
    """Start a server on a free port, and give it with its port once it listens."""
    command = [
        sys.executable,
        "-c",
        "from edgeprune.cli.main import main; main()",
        "serve",
        str(package),
        "--port",
        "0",
    ]
    server = subprocess.Popen([*command, "--json", *shlex.split(options)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    document = ""
    while not document.endswith("}\n") and (line := server.stdout.readline()):
        document += line
    return server, json.loads(document)["port"]


def show(rows: dict[tuple[str, str], Row]) -> None:
    """Print the Markdown table."""
    print("| server | clients | requests/s | p50 ms | p99 ms | CPU ms | lost | equal | same |")
    print("|---|---|---|---|---|---|---|---|---|")
    for (name, clients), row in rows.items():
        total = len(row.seconds) + row.lost
        rate = f"{statistics.median(row.rates):.0f} [{min(row.rates):.0f}, {max(row.rates):.0f}]"
        p50, p99 = np.percentile(row.seconds, [50, 99]) * 1000
        shares = f"{100 * row.equal / total:.1f}% | {100 * row.same / total:.1f}%"
        print(
            f"| {name} | {clients} | {rate} | {p50:.2f} | {p99:.2f} | {1000 * row.cpu_s / total:.2f} | {row.lost} of {total:,} | {shares} |"
        )


def main() -> int:
    """Start the servers, load them by turns with the bare loop, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--also", action="append", default=[], help="options of one more server")
    parser.add_argument("--inputs", type=Path, help="file with one text a line; default: the package's goldens")
    parser.add_argument("--requests", type=int, default=1024, help="in each turn of each row")
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    model = edgeprune.load_onnx(arguments.package)
    if arguments.inputs:
        values: list[Any] = arguments.inputs.read_text(encoding="utf-8").splitlines()
    else:
        with opened(arguments.package) as folder:
            values = [golden[model.kind] for golden in goldens(folder)["goldens"]]
    values = [values[number % len(values)] for number in range(arguments.requests)]
    contents = [content_of(value, model) for value in values]
    requests = [
        (json.dumps({"inputs": value}).encode(), answer) for value, answer in zip(values, model(contents), strict=True)
    ]
    servers = {options or "as it is": started(arguments.package, options) for options in ["", *arguments.also]}
    rows: dict[tuple[str, str], Row] = defaultdict(Row)
    for turn in range(arguments.turns + 1):
        found: dict[tuple[str, str], Row] = defaultdict(Row) if turn == 0 else rows  # the first turn warms up
        bare(model, contents, found["bare loop", "—"])
        for clients in CLIENTS:
            for name, (server, port) in servers.items():
                row, used = found[name, str(clients)], cpu_s(server.pid)
                asyncio.run(load(port, clients, requests, row))
                row.cpu_s += cpu_s(server.pid) - used
    codes = []
    for server, _ in servers.values():
        server.send_signal(signal.SIGTERM)
        codes.append(server.wait(60))
    show(rows)
    return int(any(row.lost for row in rows.values()) or any(codes))


if __name__ == "__main__":
    sys.exit(main())
