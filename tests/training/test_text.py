"""Words of a text and their numbers, eagerly, in a graph and in an export."""
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from training import UserError
from training.text.files import decoded
from training.text.vocabulary import Vocabulary, tokens

WORDS = ["", "<unknown>", "<silence>", "went", "where", "élan"]


def words_of(*texts):
    return [[word.decode() for word in words] for words in tokens(tf.constant(texts, tf.string)).to_list()]


@pytest.mark.parametrize("sentence, expected", [
    ("Mary went to the garden.", "mary went to the garden"),
    ("Where is the football?", "where is the football"),
    ("milk,football", "milk football"),
    ("  several \t spaces\nand   lines ", "several spaces and lines"),
    ("no\u00a0break\u2003space", "no break space"),
    ("<SILENCE>", "<silence>"),
    ("resto_paris R_phone the_place_2", "resto_paris r_phone the_place_2"),
    ("I don't like well-known (\"quoted\") things; really!", "i don't like well-known quoted things really"),
    ("It's 19:30 at 5% - a+b=c/d", "it's 19 30 at 5 - a b c d"),
    ("ÉLAN Straße ΣΊΣΥΦΟΣ Привет 東京 ١٢", "élan straße σίσυφοσ привет 東京 ١٢"),
    ("e\u0301lan नमस्ते", "e\u0301lan नमस्ते"),  # combining marks belong to their letters
    ("smile 😀 on", "smile on"),
    ("?!...", ""), ("", ""), ("   ", ""),
])
def test_tokens(sentence, expected):
    found, = words_of(sentence)
    assert " ".join(found).replace("ς", "σ") == expected


def test_words_that_the_vocabulary_lacks_are_named():
    missing = Vocabulary(WORDS).missing(tokens(tf.constant(["Where went Mary today?", "where", ""])))
    assert missing.numpy().tolist() == [b"mary today", b"", b""]


def test_each_text_has_its_own_number_of_words():
    assert words_of("a b", "", "c") == [["a", "b"], [], ["c"]]
    assert words_of() == []


def test_tokens_are_the_same_in_a_graph():
    texts = tf.constant(["Mary  went.", "", "ÉLAN <silence>"])
    graph = tf.function(tokens, input_signature=[tf.TensorSpec([None], tf.string)])
    assert graph(texts).to_list() == tokens(texts).to_list()
    assert graph(tf.constant([], tf.string)).to_list() == []


def test_bytes_that_are_no_text_do_no_harm():
    assert tokens(tf.constant([b"went \xff\xfe home", b"where"])).to_list() == [[b"went", b"home"], [b"where"]]


def test_a_vocabulary_numbers_words_and_keeps_shapes():
    vocabulary = Vocabulary(WORDS)
    assert len(vocabulary) == 6 and vocabulary.words == WORDS
    assert vocabulary.ids(tf.constant(WORDS)).numpy().tolist() == [0, 1, 2, 3, 4, 5]
    dense = vocabulary.ids(tf.constant([[["went", ""]], [["never heard", "élan"]]]))
    assert dense.dtype == tf.int32 and dense.numpy().tolist() == [[[3, 0]], [[1, 5]]]
    ragged = vocabulary.ids(tokens(["Where went he?", "", "ÉLAN"]))
    assert ragged.dtype == tf.int32 and ragged.to_list() == [[4, 3, 1], [], [5]]
    assert ragged.to_tensor().numpy().tolist() == [[4, 3, 1], [0, 0, 0], [5, 0, 0]]
    nested = vocabulary.ids(tf.ragged.constant([[["went"], []], [], [["where", "who"]]]))
    assert nested.to_list() == [[[3], []], [], [[4, 1]]]


def test_a_vocabulary_of_texts_is_sorted_and_holds_each_word_once():
    texts = [["where", "went", "<silence>"], [], ["went", "", "<unknown>", "élan", "b", "a"]]
    vocabulary = Vocabulary.of(words for words in texts)
    assert vocabulary.words == ["", "<unknown>", "<silence>", "a", "b", "went", "where", "élan"]
    assert Vocabulary.of(reversed(texts)).words == vocabulary.words
    assert Vocabulary.of([]).words == ["", "<unknown>"]
    again = Vocabulary(json.loads(json.dumps(vocabulary.words)))
    assert again.ids(tf.constant(["went", "élan"])).numpy().tolist() == [5, 7]


def test_a_vocabulary_of_what_tokens_gives():
    """Tensors hold bytes; the words are text all the same, fit for JSON."""
    vocabulary = Vocabulary.of(tokens(["Where went?", "ÉLAN"]).to_list())
    assert vocabulary.words == ["", "<unknown>", "went", "where", "élan"]
    assert vocabulary.ids(tf.constant(["élan"])).numpy().tolist() == [4]


@pytest.mark.parametrize("words", [
    [], [""], ["a", "b"], ["<unknown>", "", "a"], ["", "a", "<unknown>"], ["", "<unknown>", "a", "b", "a"],
    ["", "<unknown>", ""], ["", "<unknown>", "a", b"a"]], ids=str)
def test_bad_lists_are_refused(words):
    with pytest.raises(ValueError, match="begin with padding and unknown"):
        Vocabulary(words)


def test_ids_in_a_graph():
    vocabulary = Vocabulary(WORDS)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def ids(texts):
        return vocabulary.ids(tokens(texts)).to_tensor(shape=(None, 4))

    assert ids.get_concrete_function().structured_outputs.shape.as_list() == [None, 4]
    assert ids(tf.constant(["Where WENT she", ""])).numpy().tolist() == [[4, 3, 1, 0], [0, 0, 0, 0]]
    data = tf.data.Dataset.from_tensor_slices(["went where", "élan"]).batch(2)
    assert [batch.numpy().tolist() for batch in data.map(ids)] == [[[3, 4, 0, 0], [5, 0, 0, 0]]]


class Reader(keras.Model):
    """Keeps the table, as every model does that answers texts."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary = vocabulary
        self.table = vocabulary.table
        self.built = True

    def read(self, texts):
        return {"ids": self.vocabulary.ids(tokens(texts)).to_tensor()}


def test_the_table_survives_a_saved_model(tmp_path):
    module = tf.Module()
    vocabulary = Vocabulary(WORDS)
    module.table = vocabulary.table
    module.ids = tf.function(lambda words: vocabulary.ids(words), input_signature=[tf.TensorSpec([None], tf.string)])
    tf.saved_model.save(module, tmp_path / "saved")
    loaded = tf.saved_model.load(tmp_path / "saved")
    assert loaded.ids(tf.constant(["where", "who", ""])).numpy().tolist() == [4, 1, 0]


def test_the_table_survives_an_export(tmp_path):
    archive = keras.export.ExportArchive()
    model = Reader(Vocabulary(WORDS))
    archive.track(model)
    archive.add_endpoint("serve", model.read, input_signature=[tf.TensorSpec([None], tf.string)])
    archive.write_out(tmp_path / "exported", verbose=False)
    moved = (tmp_path / "exported").rename(tmp_path / "elsewhere")  # nothing is read from where it was made
    answer = tf.saved_model.load(moved).serve(tf.constant(["Where, where?", "élan"]))["ids"]
    assert np.asarray(answer).tolist() == [[4, 4], [5, 0]]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_file_of_any_unicode_encoding_is_read(encoding):
    assert decoded("größer\n東京".encode(encoding), "a.txt") == "größer\n東京"


@pytest.mark.parametrize("mark, encoding", [(b"\xfe\xff", "utf-16-be"), (b"\xff\xfe", "utf-16-le"), (b"\0\0\xfe\xff", "utf-32-be")])
def test_the_byte_order_mark_counts(mark, encoding):
    assert decoded(mark + "élan".encode(encoding), "a.txt") == "élan"


@pytest.mark.parametrize("content", ["größer".encode("latin-1"), "Привет".encode("cp1251"), b"\xef\xbb\xbf\xff", b"\xff\xfea", b"a\0b",
                                     "where".encode("utf-16-le"), b"\xed\xa0\x80"])
def test_what_is_no_unicode_is_refused_with_the_files_name(content):
    with pytest.raises(UserError, match="^a.txt is not UTF-.*; save it as UTF-8$"):
        decoded(content, "a.txt")
