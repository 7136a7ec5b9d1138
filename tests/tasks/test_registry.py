import subprocess
import sys
from importlib.util import find_spec
from typing import get_args

import pytest

from edgeprune.tasks.registry import COLUMNS, IMAGE_TASKS, TASKS, TAUGHT_ONLY, TaskEntry, TaskName, task_for
from edgeprune.tasks.roles import Task
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import IMAGE_TASKS as TESTED_ON_IMAGES
from tests.conftest import TASKS as TESTED_ON_TEXTS


def test_every_task_is_in_the_table_and_tested():
    assert tuple(TASKS) == get_args(TaskName) == (*TESTED_ON_TEXTS, *TESTED_ON_IMAGES)
    assert frozenset(TESTED_ON_IMAGES) == IMAGE_TASKS


@pytest.mark.parametrize("name", TASKS)
def test_an_entry_leads_to_its_code(name: TaskName):
    entry = TASKS[name]
    spec = TaskSpec(
        task=name,
        problem_type="single_label_classification" if entry.problem_types else None,
        labels=("a", "b"),
        max_length=None if entry.columns.images else 16,
        inputs=("pixel_values",) if entry.columns.images else ("input_ids", "attention_mask"),
    )
    task = task_for(spec)
    assert isinstance(task, Task)
    assert type(task).__name__.lower() == name.replace("-", "")
    assert task.kind == ("image" if entry.columns.images else "text")


@pytest.mark.parametrize("entry", TASKS.values(), ids=TASKS)
def test_an_entry_leads_to_what_packages_carry(entry: TaskEntry):
    for module in (entry.preprocess, entry.postprocess):
        assert find_spec(f"edgeprune.ondevice.{module}") is not None


def test_a_task_that_the_dense_model_alone_teaches_asks_for_no_labels():
    assert TAUGHT_ONLY
    assert not any(COLUMNS[name].label for name in TAUGHT_ONLY)


def test_the_table_is_light():
    code = "import sys, edgeprune.tasks.resolve; print([name for name in ('torch', 'transformers') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
