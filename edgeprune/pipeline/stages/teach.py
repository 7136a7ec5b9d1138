"""teach: make a dense model of another seed, which teaches a pruned model beside the build's own dense model.

Another seed means another new head and another order of the training rows. The rows of the splits are those of the build,
so that no teacher learned from the rows that choose and judge a model.
"""

from pydantic import JsonValue

from edgeprune.pipeline.stages.base import Work
from edgeprune.pipeline.stages.prepare import Prepare
from edgeprune.profiles.training import PrepareConfig
from edgeprune.store.environment import NumericMode
from edgeprune.tasks.registry import TaskName
from edgeprune.tasks.spec import ProblemType

__all__ = ["Teach"]


class Teach(Prepare):
    """Make a dense model of another seed. The checkpoint has no head, else all seeds would give one model.

    Args:
        config: The pipeline's `stages.prepare`.
        task: The task's name.
        problem_type: The kind of a classification, as `Prepare` takes it.
        model_digest: Digest of the model's files.
        data_digest: Digest of the data.
        numeric: The numeric mode of training on this machine.
        split_seed: The build's seed, by which the rows are divided.
    """

    name = "teach"
    version = 1

    def __init__(
        self,
        config: PrepareConfig,
        *,
        task: TaskName,
        problem_type: ProblemType | None,
        model_digest: str,
        data_digest: str,
        numeric: NumericMode,
        split_seed: int,
    ) -> None:
        super().__init__(
            config,
            task=task,
            problem_type=problem_type,
            has_head=False,
            model_digest=model_digest,
            data_digest=data_digest,
            numeric=numeric,
        )
        self._split_seed = split_seed

    def fingerprint(self) -> dict[str, JsonValue]:
        return super().fingerprint() | {"prepare_version": Prepare.version, "split_seed": self._split_seed}

    def split_seed(self, work: Work) -> int:
        """Give the build's seed."""
        return self._split_seed
