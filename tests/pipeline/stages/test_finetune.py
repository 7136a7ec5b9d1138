"""edgeprune/pipeline/stages/finetune.py: what the stage does with its settings."""

from pathlib import Path

import pytest

from edgeprune.pipeline.stages.finetune import Finetune
from edgeprune.profiles.pipeline import FinetuneConfig, ReplaceConfig
from edgeprune.store.environment import NumericMode
from edgeprune.tasks.example import Example
from edgeprune.training.augmentation import Augmentation
from tests.support.e2e import Built, work_of


@pytest.mark.parametrize(("augment", "replace", "share"), [(0, 0, 0.0), (0.5, 0, 0.5), (1, 0, 1.0), (0, 0.5, 0.5)])
def test_so_large_a_share_of_the_texts_is_altered_as_is_asked_for(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augment: float, replace: float, share: float
) -> None:
    drawn: list[Example | None] = []
    draw = Augmentation.draw

    def watched(self: Augmentation, row: int, epoch: int) -> Example | None:
        drawn.append(draw(self, row, epoch))
        return drawn[-1]

    monkeypatch.setattr(Augmentation, "draw", watched)
    replaced = ReplaceConfig(texts=replace, words=1.0) if replace else None
    stage = Finetune(
        FinetuneConfig(epochs=1, augment=augment, replace=replaced),
        numeric=NumericMode(bf16=False, threads=1),
        round_number=1,
    )
    stage.run(work_of(built, tmp_path, dense=("prepare", 0), checkpoint=("prune", 1)))
    altered = [one for one in drawn if one is not None]
    assert len(altered) == pytest.approx(share * len(drawn), abs=0.2 * len(drawn))
    assert bool(drawn) is (share > 0)
