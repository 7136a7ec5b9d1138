"""In which versions of tokenizers does a tokenizer.json do what it does here? A row a part of a tokenizer.

    python benchmarks/tokenizers_versions.py --python python3.10

Every version is installed in a folder of its own (--folder, kept), and read by --python, for which all of them should have a
build. "runs": every text gets the same ids, types, offsets and sides as here. `edgeprune/models/oldest_tokenizers.py` keeps what
this found.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

VERSIONS = (
    "0.13.0,0.13.2,0.13.3,0.14.1,0.15.2,0.19.1,0.20.0,0.20.1,0.20.3,0.21.0,0.21.1,0.21.2,0.21.4,0.22.2,0.23.1,0.23.3"
)
CORPUS = [
    "the film was good and the plot was good",
    "a stale story with a clever ending , and with actors who act",
    "naïve café crowds loved it ; 1999 was a fine year",
    "unbelievably preposterous characterisation throughout",
] * 4
UNKNOWN = "[UNK]"
SPECIALS = ["[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]"]
REPLAY = """
import json, sys
from tokenizers import Tokenizer
texts = ["the film was good", "Naïve café , 1999 !", "unbelievably  preposterous\\tzebras 漢字 \\U0001f600", "[MASK] the", "a " * 40]
for path in sys.argv[1:]:
    try:
        tokenizer, found = Tokenizer.from_file(path), []
        for direction in ("right", "left"):
            tokenizer.enable_truncation(16, strategy="longest_first", direction=direction)
            for text in texts:
                for one in (tokenizer.encode(text), tokenizer.encode(text, texts[-1])):
                    found.append([one.ids, one.type_ids, one.offsets, one.sequence_ids])
    except BaseException:
        found = None
    print(json.dumps(found))
"""

TEMPLATE = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
)
EMPTY_MAP = (1024).to_bytes(4, "little") + bytes(1025)
"""Of SentencePiece's normalizer."""
ENDS = (("[SEP]", 3), ("[CLS]", 2))


def word_piece(**parts: object) -> Tokenizer:
    """A WordPiece tokenizer with some other parts."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    return _trained(tokenizer, trainers.WordPieceTrainer(vocab_size=220, special_tokens=SPECIALS), parts)


def bpe(model: object = None, **parts: object) -> Tokenizer:
    """A byte-level BPE tokenizer."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=SPECIALS, initial_alphabet=alphabet)
    parts = {"pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=False), **parts}
    return _trained(Tokenizer(model or models.BPE()), trainer, parts)


def unigram() -> Tokenizer:
    """A Unigram tokenizer of words."""
    trainer = trainers.UnigramTrainer(vocab_size=160, special_tokens=SPECIALS, unk_token=UNKNOWN)
    return _trained(Tokenizer(models.Unigram()), trainer, {"pre_tokenizer": pre_tokenizers.WhitespaceSplit()})


def word_level() -> Tokenizer:
    """A tokenizer of whole words."""
    trainer = trainers.WordLevelTrainer(special_tokens=SPECIALS)
    return _trained(Tokenizer(models.WordLevel(unk_token=UNKNOWN)), trainer, {})


def _trained(tokenizer: Tokenizer, trainer: object, parts: dict[str, object]) -> Tokenizer:
    for role, part in {"pre_tokenizer": pre_tokenizers.BertPreTokenizer(), "post_processor": TEMPLATE, **parts}.items():
        setattr(tokenizer, role, part)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


_N, _P, _D = normalizers, pre_tokenizers, decoders
MADE: dict[str, Callable[[], Tokenizer]] = {
    "model WordPiece": word_piece,
    "model BPE": bpe,
    "model BPE, ignore_merges": lambda: bpe(models.BPE(ignore_merges=True)),
    "model Unigram": unigram,
    "model WordLevel": word_level,
    "post_processor BertProcessing": lambda: word_piece(post_processor=processors.BertProcessing(*ENDS)),
    "post_processor RobertaProcessing": lambda: word_piece(post_processor=processors.RobertaProcessing(*ENDS)),
    "post_processor ByteLevel": lambda: word_piece(post_processor=processors.ByteLevel(trim_offsets=True)),
    "post_processor Sequence": lambda: word_piece(post_processor=processors.Sequence([TEMPLATE])),
} | {
    f"{role} {type(part).__name__}": lambda role=role, part=part: word_piece(**{role: part})
    for role, parts in {
        "normalizer": [
            _N.BertNormalizer(), _N.ByteLevel(), _N.Lowercase(), _N.NFC(), _N.NFD(), _N.NFKC(), _N.NFKD(), _N.Nmt(),
            _N.Precompiled(EMPTY_MAP), _N.Prepend("▁"), _N.Replace(Regex(" {2,}"), " "), _N.Sequence([_N.NFKC()]), _N.Strip(), _N.StripAccents(),
        ],
        "pre_tokenizer": [
            _P.BertPreTokenizer(), _P.ByteLevel(), _P.CharDelimiterSplit(" "), _P.Digits(), _P.FixedLength(5),
            _P.Metaspace(), _P.Punctuation(), _P.Sequence([_P.Digits()]), _P.Split(Regex(r"\w+"), "isolated"),
            _P.UnicodeScripts(), _P.Whitespace(), _P.WhitespaceSplit(),
        ],
        "decoder": [
            _D.BPEDecoder(), _D.ByteFallback(), _D.ByteLevel(), _D.CTC(), _D.Fuse(), _D.Metaspace(), _D.Replace("▁", " "),
            _D.Sequence([_D.WordPiece()]), _D.Strip(" ", 1, 0), _D.WordPiece(),
        ],
    }.items()
    for part in parts
}  # fmt: skip
"""What packages' tokenizers are made of, one part beside the usual ones a tokenizer."""


def installed(folder: Path, version: str, python: str) -> Path:
    """A folder with one version of tokenizers."""
    place = folder / version
    if not place.is_dir():
        new = folder / f"{version}.new"
        pip = [python, "-m", "pip", "install", "-q", "--no-deps", "--only-binary", ":all:", "--target", str(new)]
        subprocess.run([*pip, f"tokenizers=={version}"], check=True)
        new.rename(place)
    return place


def replay(paths: list[Path], python: str, place: Path | None) -> list[str]:
    """What each tokenizer.json makes of the texts, as JSON."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if place is not None:
        environment["PYTHONPATH"] = str(place)
    command = [python, "-c", REPLAY, *map(str, paths)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


def main() -> None:
    """Try them all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", default=VERSIONS)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--folder", type=Path, default=Path(".tokenizers"))
    arguments = parser.parse_args()
    versions = arguments.versions.split(",")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        paths = []
        for number, make in enumerate(MADE.values()):
            paths.append(Path(scratch) / f"{number}.json")
            make().save(str(paths[-1]))
        here = replay(paths, sys.executable, None)
        there = [
            replay(paths, arguments.python, installed(arguments.folder, version, arguments.python))
            for version in versions
        ]
    print(f"| part | {' | '.join(versions)} |")
    print(f"|---|{'---|' * len(versions)}")
    for name, wanted, *found in zip(MADE, here, *there, strict=True):
        shown = ["runs" if one == wanted else "–" if one == "null" else "differs" for one in found]
        print(f"| {name} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
