import onnxruntime
import pytest

from edgeprune.ondevice.agent import session_options
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.variant import DISABLED_FUSIONS, SKIP_FUSION, SessionOptions, Variant

GELU = "BiasGeluFusion"
PLAIN = SessionOptions(threads=2)
CHANGED = SessionOptions(
    threads=2, level="extended", arena=False, config={"session.intra_op.allow_spinning": "0"}
).toggled(SKIP_FUSION)


def test_a_fusion_is_left_out_and_comes_back():
    assert PLAIN.toggled(GELU).config == {DISABLED_FUSIONS: GELU}
    both = PLAIN.toggled(GELU).toggled(SKIP_FUSION)
    assert both.config == {DISABLED_FUSIONS: f"{GELU};{SKIP_FUSION}"}
    assert both.disabled_fusions == (GELU, SKIP_FUSION)
    assert both == PLAIN.toggled(SKIP_FUSION).toggled(GELU), "one set has one name"
    assert both.toggled(GELU) == PLAIN.toggled(SKIP_FUSION)
    assert both.toggled(GELU).toggled(SKIP_FUSION) == PLAIN


def test_everything_that_differs_from_a_plain_session_is_complexity():
    def complexity(session: SessionOptions) -> int:
        return Variant(rewrites=("unpadded",), precision=PrecisionSettings(mode="fp32"), session=session).complexity

    assert complexity(PLAIN) == 1
    assert complexity(PLAIN.toggled(GELU)) == 2
    assert complexity(PLAIN.toggled(GELU).toggled(SKIP_FUSION)) == 3
    assert complexity(CHANGED) == 5


def test_words_are_of_what_differs():
    assert PLAIN.words == ["2 threads"]
    assert CHANGED.words == [
        "without SkipLayerNormFusion", "session.intra_op.allow_spinning 0", "optimization extended", "no arena", "2 threads",
    ]  # fmt: skip


@pytest.mark.parametrize("session", [PLAIN, CHANGED])
def test_what_python_is_told_is_what_the_agent_sets(session: SessionOptions):
    told = onnxruntime.SessionOptions()
    for call in session.calls["Python"]:
        exec(f"told.{call}", {"told": told, "GraphOptimizationLevel": onnxruntime.GraphOptimizationLevel})
    found = session_options(session.model_dump(mode="json"))
    for name in ("intra_op_num_threads", "graph_optimization_level", "enable_cpu_mem_arena"):
        assert getattr(told, name) == getattr(found, name)
    for key, value in session.config.items():
        assert told.get_session_config_entry(key) == found.get_session_config_entry(key) == value


def test_every_language_is_told_as_much():
    assert {language: len(calls) for language, calls in CHANGED.calls.items()} == dict.fromkeys(
        ("C++", "Java", "C#", "Python"), 5
    )
    assert CHANGED.calls["Java"] == (
        "setIntraOpNumThreads(2)", "setOptimizationLevel(OptLevel.EXTENDED_OPT)", "setCPUArenaAllocator(false)",
        'addConfigEntry("session.intra_op.allow_spinning", "0")', f'addConfigEntry("{DISABLED_FUSIONS}", "{SKIP_FUSION}")',
    )  # fmt: skip
    assert PLAIN.calls["C++"] == ("SetIntraOpNumThreads(2)",)
