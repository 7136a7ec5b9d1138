import pytest

from edgeprune.ondevice.postprocess_token_classification import spans, words
from edgeprune.tasks.words import continued, cut_words, tags_of_words, word_signs

NEWS = ["Mr.", "Smith", ",", ".", ".", ".", "AT&T", "P&G", "$", "3.5", "'s", "'s", "'", "...", "U.S.", "Jean-Paul"]
POSTS = ["@anna", "likes", "C++", "a", "lot!", "so", "much!", "#film", "50%-off", "50%"]


def texts(text: str, signs: str = "") -> list[str]:
    return [text[start:end] for start, end in words(text, signs)]


@pytest.mark.parametrize(
    ("data", "signs"),
    [
        (NEWS, "&"), (POSTS, "!#%+-@"), (["a", ".", "b"], ""), ([], ""), (["AT&T", "&"], ""), (["AT&T", "AT&T", "&"], "&"),
    ],
)  # fmt: skip
def test_signs_that_cut_more_words_than_they_are(data: list[str], signs: str):
    assert word_signs(data) == signs


def test_words_of_posts_are_what_stands_between_spaces():
    signs = word_signs(POSTS)
    assert texts(" ".join(POSTS), signs) == POSTS
    assert cut_words(POSTS, signs) == (0, "")


def test_words_of_news_are_cut_where_a_text_says_nothing_of_them():
    assert texts("AT&T Mr. Smith's 'film' U.S. 's...", word_signs(NEWS)) == [
        "AT&T", "Mr", ".", "Smith's", "'", "film", "'", "U.S.", "'s", "...",
    ]  # fmt: skip
    share, shown = cut_words(NEWS, word_signs(NEWS))
    assert (share, shown) == (1 / 16, "Mr.")


@pytest.mark.parametrize("text", ["हिन्दी भाषा", "cafe\u0301 ok", "مُحَمَّد قال"])
def test_marks_are_part_of_their_words(text: str):
    assert texts(text) == text.split()


def test_a_script_without_spaces_has_a_word_a_letter_with_its_marks():
    assert texts("ก็ดี北京") == ["ก็", "ดี", "北", "京"]


@pytest.mark.parametrize("text", ["a (b) c++ d_e \u00a0 1,000 «x» 👩‍👩 U.N.! ~", "x\ty"])
def test_no_character_but_space_is_in_no_word(text: str):
    assert "".join(texts(text)) == "".join(text.split())


@pytest.mark.parametrize(
    ("tag", "count", "tags"),
    [
        ("B-X", 3, ["B-X", "I-X", "I-X"]), ("I-X", 2, ["I-X", "I-X"]), ("E-X", 2, ["I-X", "E-X"]),
        ("S-X", 3, ["B-X", "I-X", "E-X"]), ("U-X", 2, ["B-X", "L-X"]), ("O", 2, ["O", "O"]), ("B-X", 1, ["B-X"]),
        ("B-X", 0, []),
    ],
)  # fmt: skip
def test_pieces_of_a_word_have_its_tag(tag: str, count: int, tags: list[str]):
    assert continued(tag, count) == tags
    assert len(spans(tags)) == (count > 0 and tag != "O")


def test_tags_go_to_the_words_of_the_text():
    text, tags = "St. Louis  AT&T x\u00a0y", ["B-LOC", "I-LOC", "O", "B-ORG", "O"]
    assert tags_of_words(text, tags, "&", spans=True) == ("B-LOC", "I-LOC", "I-LOC", "B-ORG", "O", "O")
    assert tags_of_words("St. x", ["NOUN", "B-side"], "", spans=False) == ("NOUN", "NOUN", "B-side")
