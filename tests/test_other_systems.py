"""What edgeprune imports and runs where Python has no names that Linux alone has: on Windows and macOS."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.e2e import Built

BESIDE_LINUX = {
    "win32": {
        "os": (
            "fork getegid geteuid getgid getloadavg getpgid getuid killpg mkfifo nice sched_getaffinity "
            "sched_setaffinity setsid statvfs sysconf uname wait4"
        ),
        "signal": "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGUSR1 SIGUSR2 alarm pthread_kill",
        "": "fcntl grp pwd resource termios",
    },
    "darwin": {"os": "sched_getaffinity sched_setaffinity posix_fadvise", "signal": "SIGSTKFLT", "": ""},
}
"""By system, the names that modules lack there, and the modules that are not there."""
WITHOUT = """
import builtins, glob, importlib, io, os, pkgutil, signal, sys
import edgeprune
modules = [one.name for one in pkgutil.walk_packages(edgeprune.__path__, "edgeprune.")
           if not one.name.startswith("edgeprune.ondevice.examples")]
for name in modules:          # what edgeprune imports of others has seen Linux
    importlib.import_module(name)
for name in list(sys.modules):
    if name.partition(".")[0] == "edgeprune":
        del sys.modules[name]
sys.platform = {system!r}
for module in (os, signal):
    for name in {names!r}[module.__name__].split():
        if hasattr(module, name):
            delattr(module, name)
for name in {names!r}[""].split():
    sys.modules[name] = None
opened = builtins.open
def without_proc(path, *arguments, **options):
    if str(path).startswith(("/proc/", "/sys/")):
        raise FileNotFoundError(2, "No such file or directory", path)
    return opened(path, *arguments, **options)
builtins.open = io.open = without_proc   # pathlib calls io.open
globbed = glob.glob
glob.glob = lambda pattern, **options: [] if pattern.startswith(("/proc/", "/sys/")) else globbed(pattern, **options)
for name in modules:
    importlib.import_module(name)
"""


def run_there(system: str, code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(system=system, names=BESIDE_LINUX[system]) + code],
        capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip


@pytest.mark.parametrize("system", BESIDE_LINUX)
def test_packages_answer_and_are_verified(system: str, built: Built) -> None:
    code = f"""
import json
from pathlib import Path
from edgeprune import load_onnx
from edgeprune.ondevice.agent import conditions, device_info, peak_memory_bytes
from edgeprune.pipeline.verify import verify
package = Path({str(built.package)!r})
answer = load_onnx(package)("a very good film .")
print(json.dumps({{
    "label": answer["label"], "device": device_info(), "reasons": conditions()["reasons"], "peak": peak_memory_bytes(),
    "goldens": verify(package).goldens,
}}))
"""
    done = run_there(system, code)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["label"] in ("neg", "pos")
    assert found["device"]["cores"] == os.cpu_count()
    assert found["device"]["isa"] == []
    assert "affinity" in found["reasons"]
    assert found["peak"] is None
    assert found["goldens"] == 8


def test_a_browser_on_windows_is_refused(tmp_path: Path) -> None:
    code = f"""
from edgeprune.base.errors import TargetError
from edgeprune.devices.chromium import Chromium
try:
    with Chromium({str(tmp_path / "chromium")!r}):
        pass
except TargetError as error:
    print(error)
"""
    done = run_there("win32", code)
    assert done.stdout.strip().endswith("build on Linux or macOS"), done.stderr
