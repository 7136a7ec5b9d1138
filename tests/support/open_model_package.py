"""Open a model package with ONNX Runtime's own loader, as a C program would: LIBRARY PACKAGE, and feeds as JSON on standard input.

Up to 1.31, the Python package has no interface to it, but its library has. `OrtApi::GetModelPackageApi` gives a table of
functions. In 1.29 and 1.30, `OrtApi::GetExperimentalFunction` gives each of them by name. The declarations are in
onnxruntime_c_api.h and onnxruntime_experimental_c_api.inc, in the folder include/onnxruntime/core/session of ONNX Runtime's source.
1.32 has `onnxruntime.ModelPackageContext`: once constraints.txt names it, this file can go.

ONNX Runtime selects a variant and opens it with the variant's own session options.

Each feed maps an input's name to rows of whole numbers. Standard output gets one JSON object: `components`, `variants` by
component, the `variant` that was selected for the CPU, its `folder`, the `threads` that its session has started, and for each feed
the numbers of the first output. A fault gets the exit code 1 and ONNX Runtime's sentence.
"""

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

_API = 29
"""The version of the C API whose functions are used below; the library has it, and all later ones too."""
_STATUS_MESSAGE, _CREATE_ENV, _RUN, _CREATE_OPTIONS = 2, 3, 9, 10
_CREATE_TENSOR, _TENSOR_DATA, _ELEMENTS, _TENSOR_INFO, _CPU_MEMORY = 49, 51, 64, 65, 69
_EXPERIMENTAL, _MODEL_PACKAGE = 422, 427
"""Places in the table `OrtApi`, which never change."""
_TABLE = (
    "CreateModelPackageOptionsFromSessionOptions",
    "ReleaseModelPackageOptions",
    "CreateModelPackageContext",
    "ReleaseModelPackageContext",
    "ModelPackage_GetSchemaVersion",
    "ModelPackage_GetComponentCount",
    "ModelPackage_GetComponentNames",
    "ModelPackage_GetVariantCount",
    "ModelPackage_GetVariantNames",
    "ModelPackage_GetVariantEpName",
    "ModelPackage_ResolveStringRef",
    "SelectComponent",
    "ReleaseModelPackageComponentContext",
    "ModelPackageComponent_GetSelectedVariantName",
    "ModelPackageComponent_GetSelectedVariantFolderPath",
    "CreateSession",
)
"""The functions of `OrtModelPackageApi`, in their order."""
_INT64 = 7

_Pointer = ctypes.c_void_p
_Names = ctypes.POINTER(ctypes.c_char_p)


class _Base(ctypes.Structure):
    _fields_ = (
        ("get_api", ctypes.CFUNCTYPE(_Pointer, ctypes.c_uint32)),
        ("version", ctypes.CFUNCTYPE(ctypes.c_char_p)),
    )


class Runtime:
    """ONNX Runtime's C interface."""

    def __init__(self, library: str) -> None:
        loaded = ctypes.CDLL(library)
        loaded.OrtGetApiBase.restype = ctypes.POINTER(_Base)
        base = loaded.OrtGetApiBase().contents
        major, minor = map(int, base.version().decode().split(".")[:2])
        self._api = ctypes.cast(base.get_api(_API), ctypes.POINTER(_Pointer))
        if (major, minor) >= (1, 31):
            table = ctypes.CFUNCTYPE(_Pointer)(self._api[_MODEL_PACKAGE])()
            self._package = dict(zip(_TABLE, ctypes.cast(table, ctypes.POINTER(_Pointer))[: len(_TABLE)], strict=True))
        else:
            named = ctypes.CFUNCTYPE(_Pointer, ctypes.c_char_p)(self._api[_EXPERIMENTAL])
            self._package = {name: named(f"OrtModelPackageApi_{name}_SinceV28".encode()) for name in _TABLE}

    def call(self, function: int | str, *arguments: Any) -> None:
        """Call a function that returns a status, by its place in `OrtApi` or its name in `OrtModelPackageApi`."""
        address = self._api[function] if isinstance(function, int) else self._package[function]
        kinds = [type(one) if isinstance(one, ctypes._SimpleCData) else _Pointer for one in arguments]
        if status := ctypes.CFUNCTYPE(_Pointer, *kinds)(address)(*arguments):
            message = ctypes.CFUNCTYPE(ctypes.c_char_p, _Pointer)(self._api[_STATUS_MESSAGE])(status)
            sys.exit(str((message or b"").decode()))

    def made(self, function: int | str, *arguments: Any) -> _Pointer:
        """What a function gives through its last parameter."""
        found = _Pointer()
        self.call(function, *arguments, ctypes.byref(found))
        return found

    def names(self, function: str, *arguments: Any) -> list[str]:
        """The names that a function gives."""
        found, count = _Names(), ctypes.c_size_t()
        self.call(function, *arguments, ctypes.byref(found), ctypes.byref(count))
        return [found[place].decode() for place in range(count.value)]

    def output(self, session: _Pointer, feed: dict[str, list[list[int]]], output: str) -> list[float]:
        """Run a session, and give the numbers of one output."""
        memory = self.made(_CPU_MEMORY, ctypes.c_int(0), ctypes.c_int(0))
        tensors, kept = (_Pointer * len(feed))(), []
        for place, rows in enumerate(feed.values()):
            flat = [number for row in rows for number in row]
            data = (ctypes.c_int64 * len(flat))(*flat)
            shape = (ctypes.c_int64 * 2)(len(rows), len(rows[0]))
            kept.append((data, shape))
            tensors[place] = self.made(
                _CREATE_TENSOR, memory, data, ctypes.c_size_t(ctypes.sizeof(data)), shape, ctypes.c_size_t(2), ctypes.c_int(_INT64)
            ).value  # fmt: skip
        inputs = (ctypes.c_char_p * len(feed))(*(name.encode() for name in feed))
        outputs, found = (ctypes.c_char_p * 1)(output.encode()), (_Pointer * 1)()
        self.call(
            _RUN, session, None, inputs, tensors, ctypes.c_size_t(len(feed)), outputs, ctypes.c_size_t(1), found
        )  # fmt: skip
        count = ctypes.c_size_t()
        self.call(_ELEMENTS, self.made(_TENSOR_INFO, _Pointer(found[0])), ctypes.byref(count))
        numbers = ctypes.cast(self.made(_TENSOR_DATA, _Pointer(found[0])), ctypes.POINTER(ctypes.c_float))
        return numbers[: count.value]


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def main(library: str, package: str) -> None:
    """Open the package, and answer the feeds."""
    asked = json.load(sys.stdin)
    runtime = Runtime(library)
    environment = runtime.made(_CREATE_ENV, ctypes.c_int(4), ctypes.c_char_p(b"consumer"))
    choice = runtime.made(
        "CreateModelPackageOptionsFromSessionOptions", environment, runtime.made(_CREATE_OPTIONS)
    )  # fmt: skip
    opened = runtime.made("CreateModelPackageContext", ctypes.c_char_p(package.encode()))
    components = runtime.names("ModelPackage_GetComponentNames", opened)
    variants = {
        name: runtime.names("ModelPackage_GetVariantNames", opened, ctypes.c_char_p(name.encode()))
        for name in components
    }
    selected = runtime.made("SelectComponent", opened, ctypes.c_char_p(components[0].encode()), choice)
    name, folder = (
        ctypes.string_at(runtime.made(f"ModelPackageComponent_GetSelectedVariant{what}", selected).value or 0).decode()
        for what in ("Name", "FolderPath")
    )
    before = _threads()
    session = runtime.made("CreateSession", environment, selected, None)
    threads = 1 + _threads() - before
    outputs = [runtime.output(session, feed, asked["output"]) for feed in asked["feeds"]]
    json.dump(
        {"components": components, "variants": variants, "variant": name, "folder": folder, "threads": threads, "outputs": outputs},
        sys.stdout,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
