from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgeprune.profiles.schedule import Schedule, after_round, order_fault, rounds_of, steps_of_round
from edgeprune.profiles.steps import (
    GradientStep,
    LayersStep,
    MagnitudeStep,
    NMStep,
    ReconstructStep,
    Step,
    StructuredStep,
    VocabularyStep,
)


@given(
    st.sampled_from(["constant", "linear", "cubic", "stepwise"]),
    st.floats(0, 0.9),
    st.integers(1, 12),
)
def test_a_schedule_grows_and_ends_with_everything(shape: str, start: float, rounds: int):
    schedule = Schedule(shape=shape, start=0 if shape in ("constant", "stepwise") else start)  # type: ignore[arg-type]
    start = schedule.start
    amounts = [schedule.amount(number, rounds) for number in range(1, rounds + 1)]
    assert amounts == sorted(amounts)
    assert amounts[-1] == 1
    assert amounts[0] >= start


def test_shapes():
    assert [Schedule(shape="constant").amount(number, 4) for number in (1, 4)] == [1, 1]
    assert [Schedule(shape="linear").amount(number, 4) for number in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1]
    assert [Schedule(shape="cubic").amount(number, 2) for number in (1, 2)] == [1 - 0.5**3, 1]
    assert Schedule(shape="linear", start=0.5).amount(1, 2) == 0.75


def test_amounts_after_half_of_it():
    structured = StructuredStep(method="structured", keep_heads=0.5, keep_ffn=(1.0, 0.2), keep_hidden=0.6)
    halfway = after_round(structured, 0.5)
    assert isinstance(halfway, StructuredStep)
    assert (halfway.keep_heads, halfway.keep_ffn, halfway.keep_hidden) == (0.75, (1.0, 0.6), 0.8)
    assert after_round(LayersStep(method="layers", remove=4), 0.5) == LayersStep(method="layers", remove=2)
    assert after_round(LayersStep(method="layers", remove=1), 0.1) == LayersStep(method="layers", remove=1)
    assert after_round(LayersStep(method="layers", drop=(1,)), 0.5) == LayersStep(method="layers", drop=(1,))
    assert after_round(MagnitudeStep(method="magnitude", sparsity=0.5), 0.5).sparsity == 0.25  # type: ignore[union-attr]
    assert after_round(MagnitudeStep(method="magnitude", threshold=0.1), 0.5).threshold == 0.1  # type: ignore[union-attr]
    assert after_round(GradientStep(method="gradient", sparsity=(0.2, 0.4)), 0.5).sparsity == (0.1, 0.2)  # type: ignore[union-attr]
    assert after_round(NMStep(method="n_m"), 0.5) == NMStep(method="n_m")


HALF = StructuredStep(method="structured", keep_heads=0.5)
MAGNITUDE, SEMI = MagnitudeStep(method="magnitude", sparsity=0.5), NMStep(method="n_m")
RECONSTRUCT = ReconstructStep(method="reconstruct")
SCORED = StructuredStep(method="structured", keep_heads=0.5, scores=Path("scores.safetensors"))


@pytest.mark.parametrize(
    ("steps", "rounds", "fault"),
    [
        ([HALF, RECONSTRUCT, MAGNITUDE], 1, None),
        ([HALF, RECONSTRUCT, MAGNITUDE], 2, "reconstruct comes after magnitude"),
        ([HALF, RECONSTRUCT], 3, None),
        ([HALF, SEMI], 1, None),
        ([SCORED], 1, None),
        ([MAGNITUDE, RECONSTRUCT], 1, "reconstruct comes after magnitude"),
        ([RECONSTRUCT, MAGNITUDE], 2, "reconstruct comes after magnitude"),
        ([SEMI, HALF], 1, "structured comes after n_m, whose groups of 4"),
        ([HALF, SEMI], 2, "structured comes after n_m"),
        ([SCORED], 2, "can't serve several rounds"),
    ],
)
def test_steps_that_would_undo_one_another_are_refused(steps: list[Step], rounds: int, fault: str | None):
    found = order_fault(steps, Schedule(), rounds)
    assert (found is None) is (fault is None)
    assert (fault or "") in (found or "")


LAYERS, VOCABULARY = LayersStep(method="layers", drop=(1, 3, 5)), VocabularyStep(method="vocabulary")
QUARTER = StructuredStep(method="structured", keep_heads=0.25, keep_ffn=0.25)
STEPWISE = Schedule(shape="stepwise")


def by_turns(steps: list[Step], rounds: int) -> list[list[Step]]:
    """By round, the steps that are done in it."""
    return [
        [step for step in steps_of_round(steps, STEPWISE, number, rounds) if step] for number in range(1, rounds + 1)
    ]


def test_steps_take_turns_and_reconstruct_follows_each():
    half = HALF.model_copy(update={"keep_ffn": 0.5})
    steps: list[Step] = [half, LAYERS, QUARTER, RECONSTRUCT]
    assert by_turns(steps, 3) == [[half, RECONSTRUCT], [LAYERS, RECONSTRUCT], [QUARTER, RECONSTRUCT]]
    assert steps_of_round(steps, STEPWISE, 2, 3) == (None, LAYERS, None, RECONSTRUCT), "each step keeps its number"


def test_a_step_with_several_rounds_goes_on_from_what_its_like_has_left():
    half = HALF.model_copy(update={"keep_ffn": 0.5})
    _, _, third, fourth = by_turns([half, LAYERS, QUARTER], 4)
    assert [(step.keep_heads, step.keep_ffn) for step in (*third, *fourth)] == [  # type: ignore[union-attr]
        (0.375, 0.375), (0.25, 0.25),
    ]  # fmt: skip
    more = LayersStep(method="layers", remove=7)
    assert [step.remove for turn in by_turns([LAYERS, more], 3)[1:] for step in turn] == [5, 7]  # type: ignore[union-attr]
    by_layer = StructuredStep(method="structured", keep_heads=(0.5, 1.0), keep_ffn=(0.75, 0.25))
    (_, (between,), (last,)) = by_turns([by_layer, QUARTER], 3)
    assert (between.keep_heads, between.keep_ffn) == (0.5, 0.375), "a list counts as its mean"  # type: ignore[union-attr]
    assert last == QUARTER
    (_, (between,), (last,)) = by_turns([QUARTER, by_layer.model_copy(update={"keep_heads": (0.25, 0.125)})], 3)
    assert between.keep_heads == (0.25, 0.1875)  # type: ignore[union-attr]


def test_a_step_goes_on_from_all_that_the_steps_before_have_left():
    narrow = StructuredStep(method="structured", keep_hidden=0.6)
    (first,), (second,), (between,), (last,) = by_turns([HALF, narrow, QUARTER], 4)
    assert (first, second) == (HALF, narrow)
    assert (between.keep_heads, between.keep_ffn, between.keep_hidden) == (0.375, 0.625, 1.0)  # type: ignore[union-attr]
    assert last == QUARTER
    dropped = [LayersStep(method="layers", drop=(number,)) for number in (1, 3)]
    *_, (fewer,), (fewest,) = by_turns([*dropped, LayersStep(method="layers", remove=4)], 4)
    assert (fewer.remove, fewest.remove) == (3, 4)  # type: ignore[union-attr]
    two, five = (LayersStep(method="layers", remove=count) for count in (2, 5))
    assert [step.remove for turn in by_turns([two, HALF, five], 4) for step in turn if step != HALF] == [2, 4, 5]  # type: ignore[union-attr]
    gradient = GradientStep(method="gradient", sparsity=0.8)
    *_, (some,), (all_of_it,) = by_turns([MagnitudeStep(method="magnitude", sparsity=0.5), gradient], 4)
    assert (some.sparsity, all_of_it.sparsity) == (pytest.approx(0.65), 0.8)  # type: ignore[union-attr]


def test_under_other_shapes_every_step_is_done_in_every_round_and_grows_from_nothing():
    first, last = (steps_of_round([HALF, QUARTER, RECONSTRUCT], Schedule(), number, 2) for number in (1, 2))
    assert [step.keep_heads for step in first[:2]] == [0.75, 0.625]  # type: ignore[union-attr]
    assert last == (HALF, QUARTER, RECONSTRUCT)


@pytest.mark.parametrize(
    ("steps", "rounds", "turns"),
    [
        ([HALF, LAYERS, QUARTER], 5, [[1, 2], [3], [4, 5]]),
        ([HALF, LAYERS, QUARTER], 4, [[1], [2], [3, 4]]),
        ([VOCABULARY, HALF, MAGNITUDE], 7, [[1], [2, 3, 4], [5, 6, 7]]),
        ([LAYERS, RECONSTRUCT, VOCABULARY], 2, [[1], [1, 2], [2]]),
    ],
)
def test_rounds_are_shared_out_among_the_steps_that_can_grow(steps: list[Step], rounds: int, turns: list[list[int]]):
    assert [list(turn) for turn in rounds_of(steps, STEPWISE, rounds)] == turns


@pytest.mark.parametrize(
    ("steps", "rounds", "fault"),
    [
        ([HALF, LAYERS, QUARTER, RECONSTRUCT], 3, None),
        ([HALF, RECONSTRUCT, MAGNITUDE], 2, None),
        ([HALF, SEMI], 2, None),
        ([SCORED, LAYERS], 2, None),
        ([HALF, LAYERS, QUARTER, RECONSTRUCT], 2, "each of the 3 steps that remove something a round of its own, but rounds is 2"),
        ([HALF, RECONSTRUCT], 3, "fewer than two steps remove something; use linear"),
        ([LAYERS, VOCABULARY], 3, "rounds is 3; lower rounds to 2"),
        ([HALF, RECONSTRUCT, MAGNITUDE], 4, "reconstruct comes after magnitude"),
        ([MAGNITUDE, RECONSTRUCT, HALF], 2, "reconstruct comes after magnitude"),
        ([SEMI, HALF], 2, "structured comes after n_m"),
        ([SCORED, LAYERS], 3, "can't serve several rounds"),
    ],
)  # fmt: skip
def test_turns_that_would_do_nothing_or_undo_something_are_refused(steps: list[Step], rounds: int, fault: str | None):
    found = order_fault(steps, STEPWISE, rounds)
    assert (found is None) is (fault is None)
    assert (fault or "") in (found or "")


def test_a_start_of_all_at_once_is_refused():
    with pytest.raises(ValidationError, match="start has no effect on constant"):
        Schedule(shape="constant", start=0.5)
    with pytest.raises(ValidationError, match="start has no effect on stepwise"):
        Schedule(shape="stepwise", start=0.5)
