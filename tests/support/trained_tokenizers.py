"""Tokenizers of every kind, trained on a few sentences."""

from functools import cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

KINDS = ("WordPiece", "BPE", "Unigram")
CORPUS = [
    "the film was good and the plot was good",
    "a stale story with a clever ending , and with actors who act",
    "naïve café crowds loved it ; 1999 was a fine year",
]
WIDER = [*CORPUS, "unbelievably preposterous characterisation throughout", "quixotic zebras juggle flaming torches"] * 4
DECODERS = {"WordPiece": decoders.WordPiece(), "BPE": decoders.ByteLevel(), "Unigram": decoders.Metaspace()}
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def trained(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer of a kind, with far more tokens than CORPUS needs."""
    if kind == "WordPiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=220, special_tokens=SPECIALS)
    elif kind == "BPE":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=420, special_tokens=SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=160, special_tokens=SPECIALS, unk_token="[UNK]")
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.train_from_iterator(WIDER, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]",
    )  # fmt: skip


@cache
def decoding(kind: str) -> PreTrainedTokenizerFast:
    """A tokenizer that can turn tokens into words again, as those of real models can."""
    tokenizer = trained(kind)
    tokenizer.backend_tokenizer.decoder = DECODERS[kind]
    return tokenizer
