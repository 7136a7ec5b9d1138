"""Run models on an ARM64 core under qemu's user mode, on any machine that `make arm` prepared.

The emulation tells whether a model loads on that core, computes the same there, and needs no instruction that the core
lacks. It never times a model: the time under an emulator says nothing about the time on a device.

ONNX Runtime chooses its kernels by /proc/cpuinfo, so the process sees the /proc/cpuinfo of the emulated core. This
machine's own file would lead ONNX Runtime to instructions that qemu refuses, or crash the process. Each run gets its
own root folder, so that runs on different cores don't disturb each other. The folder holds that file, and links to the
folder that `make arm` made.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeprune.base.errors import ParityError, TargetError
from edgeprune.devices.agent_answer import read_answer
from edgeprune.devices.protocol import Answer, Request
from edgeprune.ondevice import agent
from edgeprune.profiles.runners import ArmCore, EmulatedConfig

__all__ = ["EmulatedRunner"]

_ARMV8 = "fp asimd aes pmull sha1 sha2 crc32 cpuid"
_ARMV8_2 = "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_FEATURES: dict[ArmCore, str] = {
    "cortex-a53": _ARMV8,
    "cortex-a72": _ARMV8,
    "cortex-a76": _ARMV8_2,
    "neoverse-n1": _ARMV8_2,
}
"""The CPU features of each core that qemu's `-cpu` emulates, under Linux's names."""

_PYTHON = "usr/bin/python3.11"
_PACKAGES = "usr/lib/python3/dist-packages"
_ILLEGAL_INSTRUCTION = (-signal.SIGILL, 128 + signal.SIGILL)


class EmulatedRunner:
    """Run the agent under qemu. See `Runner`.

    Args:
        config: The profile's `runner`.
    """

    def __init__(self, config: EmulatedConfig) -> None:
        self._core: ArmCore = config.core
        self._root = Path(config.root or os.environ.get("EDGEPRUNE_ARM_ROOT") or ".edgeprune-arm").absolute()
        self._qemu = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")

    @property
    def lacking(self) -> str | None:
        """What isn't set up on this machine, and what to do. None if everything is set up."""
        if self._qemu is None:
            return "there is no qemu-aarch64-static here; run make arm in edgeprune's checkout"
        if not (self._root / _PYTHON).is_file():
            return (
                f"there is no ARM64 Python at {self._root}; run make arm in edgeprune's checkout, and name the folder it "
                f"makes in EDGEPRUNE_ARM_ROOT"
            )
        return None

    @property
    def versions(self) -> dict[str, str]:
        """Versions of onnxruntime and numpy on the emulated core."""
        folders = sorted((self._root / _PACKAGES).glob("*.dist-info"))
        found = (folder.name.removesuffix(".dist-info").partition("-") for folder in folders)
        return {name: version for name, _, version in found}

    def run(self, request: Request, models: Mapping[str, Path]) -> list[Answer]:
        """Have the emulated core answer a request. See `Runner.run`.

        Raises:
            ValueError: The request times or weighs a model.
            TargetError: The emulation isn't set up, or the agent failed under it.
            ParityError: The model uses an instruction that the core lacks.
        """
        if request.mode not in ("outputs", "probe"):
            raise ValueError(f"mode {request.mode} has no meaning under emulation; ask for outputs or probe")
        if self.lacking is not None:
            raise TargetError(self.lacking)
        with self._own_root() as root:
            done = subprocess.run(  # noqa: S603 (an emulator with our own file)
                [str(self._qemu), "-cpu", self._core, "-L", root, root / _PYTHON, "-I", agent.__file__],
                input=request.as_json({name: str(path) for name, path in models.items()}),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
                env={},
            )
        if done.returncode in _ILLEGAL_INSTRUCTION:
            # The agent writes its first line after it has imported onnxruntime.
            what = "the model" if done.stdout else "onnxruntime itself"
            raise ParityError(
                f"{what} uses an instruction that a {self._core} lacks; it can't run there as it does here"
            )
        return read_answer(done, request, models, place=f"an emulated {self._core}", python="Python")

    def close(self) -> None:
        """Do nothing, because every run removes its own folder. See `Runner.close`."""

    @contextlib.contextmanager
    def _own_root(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="edgeprune-arm-") as folder:
            root = Path(folder)
            for path in self._root.iterdir():
                (root / path.name).symlink_to(path)
            (root / "proc").mkdir()
            (root / "proc" / "cpuinfo").write_text(self._cpuinfo(), encoding="ascii")
            yield root

    def _cpuinfo(self) -> str:
        """Write the emulated core's /proc/cpuinfo, with one paragraph for each processor of this machine."""
        part = next(part for part, core in agent.ARM_CORES.items() if core == self._core)
        lines = (
            f"Features\t: {_FEATURES[self._core]}",
            "CPU implementer\t: 0x41",
            "CPU architecture: 8",
            "CPU variant\t: 0x0",
            f"CPU part\t: {part}",
            "CPU revision\t: 0",
        )
        processors = range(os.cpu_count() or 1)
        return "".join("\n".join([f"processor\t: {number}", *lines]) + "\n\n" for number in processors)
