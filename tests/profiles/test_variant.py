import onnxruntime
import pytest

from edgeprune.ondevice.agent import session_options
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.profiles.session_options import DISABLED_FUSIONS, SKIP_FUSION, SessionOptions
from edgeprune.profiles.variant import Variant

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


def test_options_with_the_same_entries_are_one_whatever_their_order():
    entries = {"session.intra_op.allow_spinning": "0", DISABLED_FUSIONS: GELU}
    one = SessionOptions(threads=2, config=entries)
    other = SessionOptions(threads=2, config=dict(reversed(entries.items())))
    assert one == other
    assert hash(one) == hash(other)
    assert {one, other, one.model_copy(), SessionOptions.model_validate_json(one.model_dump_json())} == {one}
    assert len({one, one.toggled(GELU), SessionOptions(threads=3, config=entries), PLAIN}) == 4


def test_entries_are_written_in_the_order_in_which_they_were_given():
    assert CHANGED.model_dump_json() == (
        '{"threads":2,"level":"extended","arena":false,"config":{"session.intra_op.allow_spinning":"0",'
        '"optimization.disable_specified_optimizers":"SkipLayerNormFusion"}}'
    )
    assert CHANGED.model_dump(mode="json")["config"] == dict(CHANGED.config)
    read = SessionOptions.model_validate_json(CHANGED.model_dump_json())
    assert read.model_dump_json() == CHANGED.model_dump_json()


def test_a_variant_is_its_own_identity():
    fp32, uint8 = (PrecisionSettings(mode="fp32"), PrecisionSettings(mode="int8-dynamic", weight_type="uint8"))
    int8 = uint8.model_copy(update={"weight_type": "int8"})
    variants = [Variant(rewrites=(), precision=one, session=PLAIN) for one in (fp32, uint8, int8)]
    assert variants[1].words == variants[2].words, "words leave out what people needn't read"
    assert len(set(variants)) == 3
    assert {one: number for number, one in enumerate(variants)}[variants[2].model_copy()] == 2


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


def test_threads_that_are_not_the_sessions_are_not_told_to_spin():
    spinning = SessionOptions(threads=2, config={"session.intra_op.allow_spinning": "0"})
    with_it, without = (PLAIN.neighbours(most_threads=2, spinning=one) for one in (True, False))
    assert spinning in with_it
    assert [one for one in with_it if one != spinning] == without
    assert SessionOptions(threads=1) in without
