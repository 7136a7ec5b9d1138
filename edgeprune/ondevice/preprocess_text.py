"""Texts to a model's inputs, with tokenizers and numpy alone."""

import numpy as np
from tokenizers import Tokenizer

KIND = "text"


class Inputs:
    """What a model is given for a text, or for two that belong together: in its training, its metric and its package.

    Of `config`, read are inputs, max_length, pair, truncation, truncation_side and split_special_tokens; the tokenizer is
    the folder's unless another is given.
    """

    def __init__(self, folder, config, tokenizer=None):
        self.config = config
        self.tokenizer = tokenizer or _tokenizer(folder / "tokenizer.json")
        self.tokenizer.no_padding()
        if config.get("split_special_tokens"):
            self.tokenizer.encode_special_tokens = True
        side = config.get("truncation_side", "right")  # older packages don't say it
        self.tokenizer.enable_truncation(config["max_length"], strategy=config["truncation"], direction=side)

    def encode(self, text):
        """A text, or two that belong together, as tokenizers' Encoding."""
        try:
            return self.tokenizer.encode(*text) if self.config["pair"] else self.tokenizer.encode(text)
        except Exception as error:  # tokenizers has no class of its own for it
            first = (text[0] if self.config["pair"] else text)[:60]
            raise ValueError("%r can't be cut to %d tokens: %s" % (first, self.config["max_length"], error)) from error

    def values(self, encoding):
        """The model's inputs for one encoded text, a list of numbers each."""
        found = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        return {name: found[name] for name in self.config["inputs"]}

    def feed(self, encoding):
        """The session's inputs for one encoded text."""
        return {name: np.array([values], dtype=np.int64) for name, values in self.values(encoding).items()}


def contents(given, config):
    """The texts of a command line, or of lines; two make one where the model takes pairs; blank ones are left out."""
    given = iter(given)
    for first in given:
        text = (first, next(given, "")) if config["pair"] else first
        if config["pair"] and not all(map(str.strip, text)):
            raise ValueError("this model takes two texts at a time, got %r and %r" % (text[0][:60], text[1][:60]))
        if first.strip():
            yield text


def to_json(text):
    """A text as goldens keep it."""
    return text


def from_json(value):
    """What `to_json` made."""
    return value


def shown(text):
    """What a message calls a text."""
    return repr(str(text)[:60])


def _tokenizer(file):
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing narrower
        raise ValueError("%s: %s" % (file.name, error)) from error
