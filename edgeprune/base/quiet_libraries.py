"""Libraries print while they work: progress bars, load reports, version drift. Inside `quiet_libraries` they don't."""

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
    """Only errors, and those as exceptions; everything is as before afterwards."""
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
    """The root logger's level and handlers are afterwards what they were: some modules configure them on import."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
