"""edgeprune/graph/sized_graphs.py, with size_template, layer_surgery and sized_exports: graphs of sizes that were never exported."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgeprune.base.errors import IntegrityError
from edgeprune.base.quiet_libraries import quiet_libraries
from edgeprune.graph.export import export_onnx
from edgeprune.graph.session import onnx_session
from edgeprune.graph.size_template import SizeTemplate, template_sizes
from edgeprune.graph.sized_exports import SizedExports, export_sizes
from edgeprune.graph.sized_graphs import SizedGraphs, is_narrowed
from edgeprune.models.architectures import architecture_of, head_dim_of, longest_text
from edgeprune.models.checkpoint import load_config
from edgeprune.models.random_weights import random_model
from edgeprune.models.reader import Reader
from edgeprune.models.record import LayerRecord, PruningRecord
from edgeprune.profiles.precision import PrecisionSettings
from edgeprune.tasks.evaluation import to_torch
from edgeprune.tasks.registry import load_reader, task_for
from edgeprune.tasks.roles import Task
from edgeprune.tasks.spec import TaskSpec
from tests.conftest import ModelFactory

FP32 = PrecisionSettings(mode="fp32")
LAYERS = 3
FULL = ((2, 24), (1, 40), (4, 128))


@dataclass(frozen=True)
class Exported:
    """A family's two exports, and what they were made with."""

    exports: SizedExports
    config: "object"
    task: Task
    reader: Reader
    rows: list
