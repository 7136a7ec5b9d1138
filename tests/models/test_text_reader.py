import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertTokenizerFast,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from edgeprune.base.errors import ModelError
from edgeprune.models.text_reader import TextReader, load_text_reader
from tests.support.trained_tokenizers import trained

TYPED = ("input_ids", "token_type_ids", "attention_mask")
PLAIN = ("input_ids", "attention_mask")


def with_types(tokenizer: PreTrainedTokenizerFast, last: int) -> TemplateProcessing:
    """A post-processor that gives the second of two texts type 1, and `last` to its end."""
    return TemplateProcessing(
        single="[CLS] $A [SEP]", pair=f"[CLS] $A [SEP] $B:1 [SEP]:{last}",
        special_tokens=[("[CLS]", tokenizer.cls_token_id), ("[SEP]", tokenizer.sep_token_id)],
    )  # fmt: skip


def reader_of(names: tuple[str, ...] = TYPED) -> TextReader:
    tokenizer = trained("WordPiece")
    tokenizer.backend_tokenizer.post_processor = with_types(tokenizer, last=1)
    tokenizer.model_input_names = list(names)
    return TextReader(tokenizer, 16)


@pytest.mark.parametrize(
    ("config", "names", "inputs"),
    [
        (BertConfig(), TYPED, TYPED),
        (BertConfig(), ("input_ids", "token_type_ids", "special_tokens_mask"), TYPED),
        (BertConfig(), ("input_ids",), PLAIN),
        (RobertaConfig(type_vocab_size=1), TYPED, PLAIN),
        (DebertaV2Config(type_vocab_size=0), TYPED, PLAIN),
        (DistilBertConfig(), TYPED, PLAIN),
        (ModernBertConfig(), TYPED, PLAIN),
    ],
)
def test_a_model_is_given_what_it_takes(
    config: PreTrainedConfig, names: tuple[str, ...], inputs: tuple[str, ...]
) -> None:
    reader = reader_of(names)
    reader.fit_to(config)
    assert reader.inputs == inputs


def test_one_text_is_not_given_types_that_are_all_0() -> None:
    reader = reader_of()
    assert reader.inputs_of(pair=True) == TYPED
    assert reader.inputs_of(pair=False) == PLAIN
    reader = reader_of(PLAIN)
    assert reader.inputs_of(pair=True) == reader.inputs_of(pair=False) == PLAIN


@pytest.mark.parametrize("single", ["[CLS] $A [SEP]:1", "[CLS]:1 $A:1 [SEP]:1"])
def test_one_text_whose_tokens_have_other_types_is_given_them(single: str) -> None:
    reader = reader_of()
    tokenizer = reader.tokenizer
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=single, pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", tokenizer.cls_token_id), ("[SEP]", tokenizer.sep_token_id)],
    )  # fmt: skip
    assert reader.inputs_of(pair=False) == TYPED


def test_a_saved_tokenizer_takes_no_more_room_than_it_needs(tmp_path: Path) -> None:
    reader = reader_of()
    reader.save(tmp_path)
    text = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))
    assert Tokenizer.from_str(text).to_str() == reader.tokenizer.backend_tokenizer.to_str()


def test_more_token_types_than_the_model_has_are_refused() -> None:
    reader = reader_of()
    reader.tokenizer.backend_tokenizer.post_processor = with_types(reader.tokenizer, last=2)
    with pytest.raises(ModelError, match=r"gives token types up to 2, but the model has 2 \(type_vocab_size\)"):
        reader.fit_to(BertConfig())
    reader.fit_to(BertConfig(type_vocab_size=3))


def test_more_tokens_than_the_embedding_has_rows_are_refused() -> None:
    reader = reader_of()
    count = len(reader.tokenizer)
    reader.fit_to(BertConfig(vocab_size=count))
    reader.tokenizer.add_tokens(["<user>", "<url>"])
    with pytest.raises(
        ModelError, match=rf"has {count + 2} tokens, '<url>' the last, but the model's embedding has {count} rows"
    ):
        reader.fit_to(BertConfig(vocab_size=count))
    with pytest.raises(ModelError, match=r"embedding has 9 rows"):
        reader.fit_to(BertConfig(), tokens=9)


@pytest.mark.parametrize("general", [True, False])
def test_texts_are_lowercased_where_sentence_transformers_does(tmp_path: Path, general: bool) -> None:
    tokenizer = trained("WordPiece")
    tokenizer.backend_tokenizer.normalizer = None  # type: ignore[assignment] # what tokenizers itself gives for none
    saved = tokenizer if general else BertTokenizerFast(
        vocab=tokenizer.get_vocab(), do_lower_case=False, truncation_side="left"
    )  # fmt: skip
    saved.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "modules.json").write_text("[]")
    plain = load_text_reader(tmp_path / "model", 16).tokenizer
    assert plain("The FILM")["input_ids"] != plain("the film")["input_ids"]
    (tmp_path / "model" / "sentence_bert_config.json").write_text(json.dumps({"do_lower_case": True}))
    reader = load_text_reader(tmp_path / "model", 16)
    assert reader.inputs == tuple(plain.model_input_names)
    reader.save(tmp_path / "saved")
    for found in (reader, load_text_reader(tmp_path / "saved", 16)):
        assert found.tokenizer("The FILM")["input_ids"] == plain("the film")["input_ids"]
        assert found.tokenizer.truncation_side == ("right" if general else "left")
        assert found.tokenizer.mask_token == "[MASK]"


@pytest.mark.parametrize(
    ("words", "settings", "doubted"),
    [
        (["Film", "film", "good"], None, True),
        (["Film", "film", "good"], {"do_lower_case": False}, False),
        (["Film", "film", "good"], {"do_lower_case": True}, False),
        (["film", "good"], {"model_max_length": 16}, False),
    ],
)
def test_lower_case_that_no_file_asks_for_is_doubted(
    tmp_path: Path, words: list[str], settings: dict[str, bool] | None, doubted: bool
) -> None:
    """huggingface/transformers#3823, allenai/scibert#79."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    if settings is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    reader = load_text_reader(tmp_path, 16)
    lower = reader.tokenizer.tokenize("Film") == ["film"]
    assert lower == (settings != {"do_lower_case": False})
    assert (
        reader.doubt is not None and "1 of the tokenizer's 3 tokens have capital letters" in reader.doubt
    ) == doubted
    reader.tokenizer.save_pretrained(tmp_path)
    assert load_text_reader(tmp_path, 16).doubt is None, "tokenizer.json says what is meant"


@pytest.mark.parametrize("length", [int(1e30), None])
def test_a_tokenizer_without_a_limit_cuts_where_it_is_told_to(tmp_path: Path, length: int | None) -> None:
    """flairNLP/flair#2476."""
    tokenizer = trained("WordPiece")
    tokenizer.model_max_length = length
    tokenizer.save_pretrained(tmp_path)
    reader = load_text_reader(tmp_path, 8)
    assert len(reader.tokenizer("the plot was " * 10, truncation=True).input_ids) == 8


@pytest.mark.parametrize(("padding", "most"), [(1, 512), (3, 510)])
def test_positions_begin_behind_the_padding_token(padding: int, most: int) -> None:
    """huggingface/transformers#14243, rinnakk/japanese-pretrained-models#3."""
    config = RobertaConfig(max_position_embeddings=514, pad_token_id=padding)
    TextReader(trained("WordPiece"), most).fit_to(config)
    with pytest.raises(ModelError, match=f"max_length is {most + 1}, but the model takes {most} tokens at most"):
        TextReader(trained("WordPiece"), most + 1).fit_to(config)
