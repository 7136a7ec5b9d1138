"""Run many edgeprune commands, each in a forked child of a process that has imported everything.

Reads requests as JSON lines, answers each with the child's exit code; `e2e.WarmCli` is the other end. A child counts
the file events under the folder it is told to watch, through Python's audit hooks, so that nothing of edgeprune is
patched: every file opened for writing, made, renamed or removed. At the event `kill_at` it kills itself, as a machine
that loses power would.
"""

import json
import os
import signal
import sys

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def watch(folder: str, events: str, kill_at: int | None) -> None:
    """Write a line for every event below `folder`, and die at number `kill_at`."""
    count = 0
    log = os.open(events, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"):
            return
        path = arguments[0]
        if not isinstance(path, str | os.PathLike):
            return
        name = os.fspath(path)
        if not isinstance(name, str) or not name.startswith(folder):
            return
        if event == "open" and not int(str(arguments[2])) & WRITES:
            return
        count += 1
        os.write(log, f"{event} {name[len(folder) + 1 :]}\n".encode())
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def child(request: dict[str, object]) -> None:
    """Run the command; never returns."""
    log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from edgeprune.cli.main import main

    if request["watch"]:
        watch(str(request["watch"]), f"{request['log']}.file-events", request["kill_at"])  # type: ignore[arg-type]
    code = 1
    try:
        main(request["arguments"])  # type: ignore[arg-type]
    except SystemExit as ended:
        code = int(str(ended.code))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def import_everything() -> None:
    """What a build imports, so that the children needn't."""
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import matplotlib.backends.backend_svg  # noqa: F401
    import onnxruntime.quantization  # noqa: F401
    import sklearn.svm  # noqa: F401
    import transformers.exporters.exporter_onnx  # noqa: F401

    import edgeprune.graph.export
    import edgeprune.graph.quantization
    import edgeprune.pipeline.api
    import edgeprune.tasks.feature_extraction
    import edgeprune.tasks.prepared
    import edgeprune.tasks.text_classification
    import edgeprune.training.trainer  # noqa: F401


def main() -> None:
    """Serve requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import_everything()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        _, status = os.waitpid(pid, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


if __name__ == "__main__":
    main()
