"""The packages that other programs open, and which program opens which of them, as what."""

from dataclasses import dataclass, replace
from typing import Literal

from edgeprune.tasks.registry import TaskName


@dataclass(frozen=True)
class Case:
    """A package that is built: with half of a tiny model's heads and neurons."""

    task: TaskName
    family: str
    precision: str = "fp32"
    labels: str = "single"
    pooling: Literal["mean", "cls"] = "mean"
    """Of a sentence embedding, which is of length one if the states of its tokens are averaged."""

    examples: tuple[str, ...] = ()
    """Languages of the programs beside the package."""
    first_stage: bool = False
    """Whether a first stage answers some of the inputs."""

    def __str__(self) -> str:
        words = (self.task, self.family, self.precision, self.labels, self.pooling, *["first-stage"] * self.first_stage)
        return "-".join(words)


INT8 = Case("text-classification", "bert", precision="int8-dynamic")
SINGLE = Case("text-classification", "modernbert")
EASY = Case("text-classification", "bert", first_stage=True)
MULTI = Case("text-classification", "roberta", labels="multi")
TAGS = Case("token-classification", "distilbert")
QA_WITH_TYPES = Case("question-answering", "bert")
QA_WITHOUT_TYPES = Case("question-answering", "roberta")
MASK = Case("fill-mask", "electra")
MEAN = Case("feature-extraction", "mpnet")
CLS = Case("feature-extraction", "bert", pooling="cls")
IMAGES = Case("image-classification", "vit")
IMAGE_FEATURES = Case("image-feature-extraction", "vit")

WORDS = {
    INT8: "texts, int8", SINGLE: "texts", EASY: "texts, a first stage", MULTI: "texts, several labels", TAGS: "tags", QA_WITH_TYPES: "questions",
    QA_WITHOUT_TYPES: "questions", MASK: "masks", MEAN: "embeddings", CLS: "embeddings", IMAGES: "images",
    IMAGE_FEATURES: "image embeddings",
}  # fmt: skip
"""What the table in docs/packages.md calls each case."""

OPTIMUM = {
    INT8: "ORTModelForSequenceClassification", SINGLE: "ORTModelForSequenceClassification",
    EASY: "ORTModelForSequenceClassification",
    MULTI: "ORTModelForSequenceClassification", TAGS: "ORTModelForTokenClassification",
    QA_WITH_TYPES: "ORTModelForQuestionAnswering", MASK: "ORTModelForMaskedLM", MEAN: "ORTModelForFeatureExtraction",
    IMAGES: "ORTModelForImageClassification",
}  # fmt: skip
TRANSFORMERS_JS = {
    INT8: "AutoModelForSequenceClassification", SINGLE: "AutoModelForSequenceClassification",
    EASY: "AutoModelForSequenceClassification",
    MULTI: "AutoModelForSequenceClassification", TAGS: "AutoModelForTokenClassification",
    QA_WITHOUT_TYPES: "AutoModelForQuestionAnswering", MASK: "AutoModelForMaskedLM", MEAN: "AutoModel",
    IMAGES: "AutoModelForImageClassification", IMAGE_FEATURES: "AutoModel",
}  # fmt: skip
EXAMPLES = (
    *(
        replace(case, examples=("cpp", "js", "java", "kotlin"))
        for case in (
            INT8, Case("text-classification", "electra", labels="multi"),
            Case("text-classification", "bert", labels="regression"), MEAN,
        )
    ),
    replace(EASY, examples=("cpp", "js", "java", "kotlin")),
    replace(SINGLE, examples=("js",)),
)  # fmt: skip
"""What the programs beside a package answer. The last one's tokenizer isn't in a graph."""
SENTENCE_TRANSFORMERS = (MEAN, CLS)
FASTEMBED = (MEAN, CLS)
RUNTIMES = (INT8, EASY, MULTI, QA_WITH_TYPES, CLS)
"""What onnxruntime-node and C++ run, which take numbers and no texts."""

CONSUMERS = {
    "optimum-onnx": tuple(OPTIMUM), "sentence-transformers": SENTENCE_TRANSFORMERS, "fastembed": FASTEMBED,
    "transformers.js in Node": tuple(TRANSFORMERS_JS), "transformers.js in a page": tuple(TRANSFORMERS_JS), "onnxruntime-node": RUNTIMES, "C++": RUNTIMES,
}  # fmt: skip
