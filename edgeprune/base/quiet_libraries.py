"""Silence what libraries print while they work: progress bars, load reports, warnings about versions."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

__all__ = ["logging_kept", "quiet_libraries"]

_LOGGERS = (
    "huggingface_hub",
    "torch.onnx",
    "torch.export",
    "onnxscript",
    "onnx_ir",
    "accelerate",
    "datasets",
    "root",
    "onnxruntime.quantization",
    "ort_format_model.utils",
)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence libraries inside the block: they print nothing and log only errors. Afterwards they talk as before."""
    import torch  # noqa: F401 (it sets levels of loggers when it is imported, so that must be over)
    import transformers

    verbosity = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def logging_kept() -> Iterator[None]:
    """Restore the root logger's level and handlers after the block: some modules change them on import."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
