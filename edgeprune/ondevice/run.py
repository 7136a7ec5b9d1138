#!/usr/bin/env python3
r"""Run this package's model, with onnxruntime, numpy and what preprocess.py reads its inputs with.

    pip install onnxruntime numpy tokenizers  a model of texts; of images: pillow
    python run.py "A text." "Another one."    one JSON object a line; of images: their paths
    python run.py < inputs.txt                one text, or path, a line
    python run.py --check                     replay the goldens: is this device computing the right thing?

Lines are UTF-8, and may end as on any system. Answers are UTF-8, or escaped (\u00e9) where standard output is not. Exit codes: 0
for success, 2 for an input or a library that can't be used, 5 for a package that isn't as it was made, 8 for answers that can't
be written. Where nobody reads the answers any longer, it ends without a word (141).

Where the model takes two texts (a question and its context), two arguments or two lines belong together.

From Python:

    from run import Model
    Model("path/to/this/folder").answers(["A text."])       [("A question?", "Its context.")] where it takes two;
                                                            ["image.jpg"], or a file's bytes, where it takes images
"""

import argparse
import contextlib
import errno
import importlib.machinery
import importlib.util
import json
import os
import re
import sys
from pathlib import Path

# onnxruntime >= 1.29 reports telemetry from an extra thread unless this is set before it is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Loads a file of Python from its source alone: what lies in a __pycache__ was never checked, and isn't run."""

    def get_code(self, fullname):
        return self.source_to_code(self.get_data(self.path), self.path)


def _module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path, loader=_SourceLoader(path.stem, str(path)))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


try:
    import numpy as np
    import onnxruntime

    files = _module(Path(__file__).resolve().parent / "package_files.py")
except (ImportError, OSError) as error:
    if __name__ != "__main__":
        raise
    print("%s; this package needs its own files and what its README.md names" % error, file=sys.stderr)
    sys.exit(2)

PackageError = files.PackageError


class OldLibraryError(ImportError):
    """An installed library can't run this package."""


class Model:
    """The package's model: texts or images to outputs, one unpadded row at a time.

    Dynamic quantization chooses its scales over a whole batch; a row alone always gets the same outputs.
    Raises OldLibraryError where a library is too old, PackageError where the package can't be loaded.
    """

    def __init__(self, folder, threads=None, provider=None, preprocess=None, postprocess=None):
        self.folder = Path(folder)
        self.config = files.description(self.folder)
        _require(onnxruntime, self.config["oldest_onnxruntime"])
        if self.config.get("oldest_tokenizers"):
            import tokenizers

            _require(tokenizers, self.config["oldest_tokenizers"])
        with _told("the model can't be loaded here", ImportError):
            self.preprocess = preprocess or _module(self.folder / "preprocess.py")
            self.postprocess = postprocess or _module(self.folder / "postprocess.py")
            self.inputs = self.preprocess.Inputs(self.folder, self.config)
            self.session = self._session(threads, provider or self.config["provider"])

    def _session(self, threads, provider):
        wanted = self.config["session"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or wanted["threads"]
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, "ORT_ENABLE_" + wanted["level"].upper()
        )
        options.enable_cpu_mem_arena = wanted["arena"]
        for key, value in wanted["config"].items():
            options.add_session_config_entry(key, value)
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(str(self.folder / self.config["graph"]), options, providers=[provider])

    def output(self, encoding):
        """Raw outputs, float32: [labels], [hidden] or [tokens, ...]; several are stacked along a new last axis."""
        found = self.session.run(self.config["outputs"], self.inputs.feed(encoding))
        return (found[0] if len(found) == 1 else np.stack(found, -1))[0].astype(np.float32)

    def outputs(self, contents):
        """Raw outputs, an array a text or image."""
        return [self.output(self.inputs.encode(content)) for content in contents]

    def answer(self, content):
        """What the outputs for one text (or two that belong together) or one image mean, a dict.

        Raises ValueError for what can't be read, PackageError for what the model can't answer.
        """
        with _told("this can't be answered here", ValueError):
            encoding = self.inputs.encode(content)
            return self.postprocess.answer(self.output(encoding), encoding, content, self)

    def answers(self, contents):
        """What the outputs mean, a dict a text or image."""
        return [self.answer(content) for content in contents]

    def golden(self, content):
        """What `replay` compares: the input, its outputs (where they are many, a part of them) and what they say."""
        encoding = self.inputs.encode(content)
        output = self.output(encoding)
        kept = getattr(self.postprocess, "kept", None)
        return {
            self.preprocess.KIND: self.preprocess.to_json(content),
            "outputs": (kept(output, encoding, self) if kept else output).tolist(),
            "decision": self.postprocess.decision(self.postprocess.answer(output, encoding, content, self)),
        }

    def golden_content(self, golden):
        """The text or image of a golden."""
        return self.preprocess.from_json(golden[self.preprocess.KIND])

    def replay(self, golden):
        """How a golden's input does now: whether the outputs say the same, whether they are equal, how far they are.

        The distance is relative to max(1, the largest output); outputs of another shape are infinitely far.
        """
        with _told("a golden can't be replayed here"):
            return _compared(golden, self.golden(self.golden_content(golden)))


def _compared(golden, now):
    expected, found = (np.array(one["outputs"], dtype=np.float32) for one in (golden, now))
    if expected.shape != found.shape:
        return False, False, float("inf")
    error = np.abs(found - expected).max(initial=0.0) / max(1.0, np.abs(expected).max(initial=0.0))
    same = golden["decision"] == now["decision"]
    return same, np.array_equal(expected, found), float(error) if np.isfinite(error) else float("inf")


@contextlib.contextmanager
def _told(what, *passing):
    """Inside, whatever a library raises becomes a PackageError; tokenizers' panics are no Exception."""
    try:
        yield
    except (PackageError, KeyboardInterrupt, SystemExit, GeneratorExit, *passing):
        raise
    except BaseException as error:
        raise PackageError("%s: %s" % (what, files.first_line(error))) from error


def _require(library, oldest):
    if _version(library.__version__) < _version(oldest):
        raise OldLibraryError(
            "%s %s is too old for this package; install %s or newer" % (library.__name__, library.__version__, oldest)
        )


def _version(text):
    return [int(part) for part in re.findall(r"[0-9]+", text)[:3]]


def check(model):
    """Replay the goldens; returns a sentence for each that fails."""
    record = files.goldens(model.folder)
    faults = []
    for golden in record["goldens"]:
        same, _, error = model.replay(golden)
        shown = model.preprocess.shown(model.golden_content(golden))
        if not same:
            faults.append("%s: another answer than when the package was made" % shown)
        elif error > record["tolerance"]:
            faults.append("%s: outputs differ by %.2g, more than %.2g" % (shown, error, record["tolerance"]))
    return faults


def lines(stream):
    """The lines of a binary stream of UTF-8, without their ends and a byte order mark. Raises ValueError for other bytes."""
    number = 1
    try:
        for number, line in enumerate(stream, 1):
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError("line %d is not UTF-8 (%s); save the lines as UTF-8" % (number, error)) from error
    except OSError as error:
        raise ValueError("the lines can't be read: %s" % error.strerror) from error


def as_line(record):
    """A record as a line of JSON, in ASCII where standard output isn't UTF-8 or can't show it."""
    line = json.dumps(record, ensure_ascii=False)
    try:
        same = line.encode(getattr(sys.stdout, "encoding", None) or "utf-8") == line.encode("utf-8")
    except UnicodeEncodeError:
        same = False
    return line if same else json.dumps(record)


def _contents(model, given):
    with _told("the inputs can't be read", ValueError):
        yield from model.preprocess.contents(given, model.config)


def _run(arguments):
    model = Model(Path(__file__).resolve().parent)
    if arguments.check:
        faults = check(model)
        for fault in faults:
            print(fault, file=sys.stderr)
        print("goldens: %s" % ("%d failed" % len(faults) if faults else "ok"), flush=True)
        return 5 if faults else 0
    given = arguments.inputs or (lines(sys.stdin.buffer) if sys.stdin else ())
    for content in _contents(model, given):
        print(as_line({model.preprocess.KIND: content, **model.answer(content)}), flush=True)
    return 0


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Run this package's model on texts or images.")
    parser.add_argument("inputs", nargs="*", help="texts, or paths of images; none: one a line from standard input")
    parser.add_argument("--check", action="store_true", help="replay the goldens instead")
    try:
        return _run(parser.parse_args())
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return unwritten(error)
    except (ImportError, ValueError, PackageError) as error:
        lacking = isinstance(error, ImportError) and not isinstance(error, OldLibraryError)
        print("%s%s" % (error, "; this package needs what its README.md names" if lacking else ""), file=sys.stderr)
        return 5 if isinstance(error, PackageError) else 2


def unwritten(error):
    """The exit code where an answer can't be written; nothing is said where nobody reads them any longer."""
    # What is still in the buffer would be tried once more at the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL:  # the second is Windows' word for it
        return 141
    print("the answers can't be written: %s" % error.strerror, file=sys.stderr)
    return 8


if __name__ == "__main__":
    sys.exit(main())
