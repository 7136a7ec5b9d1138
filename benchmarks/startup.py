"""Measure the wall seconds of commands that should start at once: the best, median and worst of 20 runs.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = (["--help"], ["targets", "list"], ["pipelines", "list"], ["store", "list"])

print("| command | best s | median s | worst s |")
print("|---|---|---|---|")
for command in COMMANDS:
    taken = []
    for _ in range(20):
        begin = time.perf_counter()
        subprocess.run([Path(sys.executable).with_name("edgeprune"), *command], check=True, capture_output=True)
        taken.append(time.perf_counter() - begin)
    print(f"| edgeprune {' '.join(command)} | {min(taken):.2f} | {statistics.median(taken):.2f} | {max(taken):.2f} |")
