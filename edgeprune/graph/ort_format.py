"""Convert an ONNX graph to ORT format, and list the operators that the graph needs.

Builds of ONNX Runtime for phones load this format, and such a build must have these operators. The graph is optimized
while it is written, with the session options that it is shipped with: a fusion that the options disable is missing on
the device too. A layout for one kind of CPU is never written. ONNX Runtime's own converter can't take session options,
prints, and writes absolute paths (https://onnxruntime.ai/docs/performance/model-optimizations/ort-format-models.html).
"""

import tempfile
from pathlib import Path

import onnxruntime

from edgeprune.base.quiet_libraries import logging_kept
from edgeprune.ondevice.agent import session_options
from edgeprune.profiles.session_options import DISABLED_FUSIONS, SessionOptions

__all__ = ["write_ort_format"]

_ONE_CPUS_LAYOUT = "NchwcTransformer"


def write_ort_format(source: Path, destination: Path, operators: Path, session: SessionOptions) -> None:
    """Write the graph `source` in ORT format, and write the list of operators that it needs.

    Args:
        source: The .onnx file to convert.
        destination: The .ort file to write.
        operators: The list to write. A build of ONNX Runtime takes it as `--include_ops_by_config`.
        session: The options that the model is run with.
    """
    disabled = ";".join([*session.disabled_fusions, _ONE_CPUS_LAYOUT])
    wanted = session.model_copy(update={"config": {**session.config, DISABLED_FUSIONS: disabled}})
    options = session_options(wanted.model_dump(mode="json"))
    options.add_session_config_entry("session.save_model_format", "ORT")
    options.optimized_model_filepath = str(destination)
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    with logging_kept(), tempfile.TemporaryDirectory() as scratch:  # the module configures logging when it is imported
        from onnxruntime.tools.ort_format_model import create_config_from_models

        listed = Path(scratch) / "operators"
        create_config_from_models([destination], listed, enable_type_reduction=False)
        lines = listed.read_text(encoding="utf-8").splitlines(keepends=True)
    # The comments in the list name paths of this machine.
    operators.write_text("".join(line for line in lines if not line.startswith("#")), encoding="utf-8")
