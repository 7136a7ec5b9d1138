"""A thousand texts that tokenizers may read in different ways: of many scripts, broken, empty, over-long.

They are the same on every machine and in every version of Python.
"""

import random

__all__ = ["nasty_texts"]

_SENTENCES = (
    "the film was Good and unbelievably PREPOSTEROUS; it's a naïve café story, isn't it? 1999 zebras juggle torches. "
    "Don't re-enter e-mail@example.org http://a.b/c?d=1&e=#f $9.99 50% (really) [maybe] {x} <b>bold</b> a_b c/d x=y "
    "ﬁne ﬀ Ⅷ ½ № ™ ℃ ㈱ Ω K Å ß ẞ ŉ ǰ İ ı Σς ΌΣΟΣ ŒUVRE ﷺ"
)
_PIECES = (
    # emoji: joined, with skin, flags, variation selectors, keycaps
    "😀", "👩‍👩‍👧‍👦", "👍🏽", "🇨🇭🇯🇵", "❤️", "☎︎", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "good😀bad", "😀😀😀",
    # Chinese, Japanese, Korean, with compatibility and half-width forms
    "漢字", "电影很好看", "東京タワー", "ｶﾞｷﾞｸﾞ", "ひらがな", "が", "한국어", "각", "각", "豈", "𠀀𪜀", "，。「」", "ＦＵＬＬ　ｗｉｄｔｈ",
    # right to left
    "שָׁלוֹם עולם", "مرحبا بالعالم", "\u202bعربي\u202c", "לֹא", "ﻻ", "١٢٣", "٪", "؟",
    # combining marks
    "e\u0301", "n\u0303", "a\u0308\u0304", "Z\u0351\u036b\u0343a\u0363l\u0368g\u034co", "\u0301", "x\u20dd", "ạ̈", "ǖ", "ộ", "\u302e", "q\u0323\u0307",
    # other scripts
    "हिन्दी", "ไทย", "தமிழ்", "Привет", "Ёлка й", "Ελληνικά", "ქართული", "ᏣᎳᎩ", "ꭰ", "𝓗𝓮𝓵𝓵𝓸", "𐐀", "ﾃﾞ", "Ǆ", "ᾳ", "ΐ", "ʼn",
    # spaces and controls
    "\t", "\n", "\r\n", "\v", "\f", "\u00a0", "\u2003", "\u3000", "\u200b", "\u200d", "\u200e", "\ufeff", "\u00ad", "\u2028", "\u2029", "\x85",
    "\x00", "\x01", "\x07", "\x1b[0m", "\x1c", "\x7f", "\u0080", "a\x00b", "wo\u00adrd", "\ue000", "\U000f0000", "\ufffd", "\uffff", "\u0378",
    # punctuation
    "…", "—", "‘quoted’", "“q”", "«»", "¿¡", "·", "`^~|", "+-=<>", "€£¥", "§¶", "°", "\\", '"', "''", "##ing", "a##b", "_", "__", "‽", "၊", "᠎",
    # special tokens, whole, broken and embedded
    "[SEP]", "[CLS]", "[PAD]", "[MASK]", "[UNK]", "[sep]", "[ SEP ]", "[SEP", "SEP]", "a[SEP]b", "[[SEP]]", "[SE\u0301P]", "[MASK][MASK]",
    "[S\x01EP]", "<s>", "</s>", "<pad>", "<unk>", "<mask>", " <mask>", "x<mask>y", "<S>", "<|endoftext|>", "[unused1]",
)  # fmt: skip
_WHOLE = (
    "", " ", "   ", "\t\n", "\u00a0", "\u3000\u3000", "\x00", "\x00\x00abc", "\x01", "\u0301", "\u200b", ".", "a", "A", "É",
    "word " * 400, "x" * 99, "x" * 100, "x" * 101, "x" * 5000, "é" * 100, "e\u0301" * 60, "漢" * 700, "😀" * 300, ".," * 400, "[SEP]" * 200,
    "a" * 200 + "😀", "ab😀", "😀ab", "unbelievably☃", " lead", "trail ", "  two  spaces  ", "UPPER lower MiXeD",
)  # fmt: skip


def nasty_texts(count: int = 1000) -> list[str]:
    """The first `count` of the texts: some whole, the others put together by chance from words, pieces and characters."""
    chance, words = random.Random(20), _SENTENCES.split()
    texts = [*_WHOLE, *_PIECES, *(f"the {piece} film{piece}s" for piece in _PIECES)]
    while len(texts) < count:
        kind = chance.random()
        if kind < 0.5:
            parts = [chance.choice(words if chance.random() < 0.7 else _PIECES) for _ in range(chance.randint(1, 30))]
            texts.append("".join(part + chance.choice((" ", " ", " ", "", "  ")) for part in parts))
        elif kind < 0.6:
            texts.append("".join(chance.choice(_PIECES) for _ in range(chance.randint(2, 12))))
        elif kind < 0.7:
            texts.append("".join(chance.choice(words) + " " for _ in range(chance.randint(100, 300))))
        else:
            top = chance.choice((0x7F, 0x24F, 0xFFF, 0xFFFF, 0x1FFFF, 0x10FFFF))
            texts.append("".join(_character(chance, top) for _ in range(chance.randint(1, 40))))
    return texts[:count]


def _character(chance: random.Random, top: int) -> str:
    """Any character up to `top` but half a surrogate pair, which no UTF-8 has."""
    code = chance.randint(0, top)
    return " " if 0xD800 <= code <= 0xDFFF or chance.random() < 0.1 else chr(code)
