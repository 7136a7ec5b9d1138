"""mobile: convert the shipped graph to the ORT format, for builds of ONNX Runtime that load nothing else.

The stage writes `model.ort` and `required_operators.config`. ONNX Runtime writes the tables of this format in no fixed
order, so the bytes differ from run to run. Therefore the file lies beside the package, not in it.
"""

from pydantic import JsonValue

from edgeprune.pipeline.stages.base import Stage, Work
from edgeprune.profiles.variant import read_variant
from edgeprune.store.records import StageMetrics

__all__ = ["OPERATORS", "ORT_MODEL", "Mobile"]

ORT_MODEL = "model.ort"
OPERATORS = "required_operators.config"
"""The file that a build of ONNX Runtime takes as `--include_ops_by_config`."""

_TOLERANCE = 1e-5
"""Largest difference from the ONNX graph. It is small, because both files hold one graph with the same session
options."""


class Mobile(Stage):
    """Convert the shipped graph to the ORT format.

    Args:
        threads: Threads of the target's runtime.
        round_number: The round of the package's checkpoint.
    """

    name = "mobile"
    version = 1
    libraries = ("onnxruntime",)
    roles = ("onnx", "model")
    produces = (ORT_MODEL, OPERATORS)

    def __init__(self, *, threads: int, round_number: int) -> None:
        self.round = round_number
        self._threads = threads

    def fingerprint(self) -> dict[str, JsonValue]:
        return {"threads": self._threads}

    def run(self, work: Work) -> StageMetrics:
        from edgeprune.graph.ort_format import write_ort_format
        from edgeprune.graph.parity import require_parity
        from edgeprune.graph.references import REFERENCES, answered_by, load_references, worst_agreement
        from edgeprune.graph.session import onnx_session

        model = work.parents["model"]
        variant = read_variant(model)
        assert variant is not None  # noqa: S101 (quantize always says which it made)
        session = variant.session_on(self._threads)
        source, made = model.file("model.onnx"), work.folder / ORT_MODEL
        write_ort_format(source, made, work.folder / OPERATORS, session)
        references = load_references(work.parents["onnx"].file(REFERENCES))
        padded = "unpadded" not in variant.rewrites
        expected = answered_by(onnx_session(source, session), references, with_padding=padded)
        found = worst_agreement(onnx_session(made, session), expected)
        require_parity(found, _TOLERANCE, what="the model in ORT format against the ONNX graph")
        return StageMetrics(
            parameters=model.manifest.metrics.parameters,
            model_bytes=made.stat().st_size,
            scores={"parity_max_error": found.max_error, "parity_mean_error": found.mean_error},
        )
