"""Vectors of sentences, against the sum of the paper word by word."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import layers
from layers import sentence_embedding
from tests.layers.layer_contract import check_layer

ABOVE = sentence_embedding.MOST_COUNTED_WORDS + 1


def weight(encoding, j, k, words, units):
    """l of section 4.1, of word j = 1..words and unit k = 1..units."""
    return 1 if encoding == "bag" else 2 * (1 - j / words) - 2 * (k / units) * (1 - 2 * j / words)


def summed(layer, ids):
    table = layer.table.numpy().astype("float64")
    out = np.zeros((*ids.shape[:-1], layer.tables, layer.units))
    for place in np.ndindex(ids.shape[:-1]):
        sentence = [word for word in ids[place] if word]
        for j, word in enumerate(sentence, 1):
            for k in range(1, layer.units + 1):
                out[(*place, slice(None), k - 1)] += (
                    weight(layer.encoding, j, k, len(sentence), layer.units) * table[word, :, k - 1])
    return out


def sentences(*shape, vocabulary, seed=0):
    """Returns word ids of sentences of every length from none to full, zeros behind."""
    random = np.random.default_rng(seed)
    lengths = random.permutation(np.arange(np.prod(shape[:-1])) % (shape[-1] + 1)).reshape(shape[:-1])
    ids = random.integers(1, vocabulary, shape)
    return np.where(np.arange(shape[-1]) < lengths[..., None], ids, 0).astype("int32")


def with_table(table, encoding="position"):
    """Returns a layer that has this table (vocabulary, tables, units)."""
    table = np.asarray(table, "float32")
    return layers.SentenceEmbedding(*table.shape[::2], table.shape[1], encoding, initializer=keras.initializers.Constant(table))


@pytest.mark.parametrize("vocabulary", [11, ABOVE])
@pytest.mark.parametrize("encoding", ["position", "bag"])
def test_contract(encoding, vocabulary, tmp_path):
    check_layer(lambda **options: layers.SentenceEmbedding(
                    vocabulary, 6, 2, encoding, keras.initializers.RandomNormal(stddev=0.5, seed=3), **options),
                {"inputs": sentences(2, 7, 5, vocabulary=vocabulary)}, summed, tmp_path)


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 4, 5)])
def test_sentences_may_have_any_axes(shape):
    ids = sentences(*shape, vocabulary=11)
    layer = layers.SentenceEmbedding(11, 4, 3)
    found = layer(ids)
    assert found.shape == (*shape[:-1], 3, 4)
    np.testing.assert_allclose(found, summed(layer, ids), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("encoding", ["position", "bag"])
def test_counting_words_equals_looking_them_up(encoding, dtype, monkeypatch):
    ids = sentences(3, 40, 9, vocabulary=6)  # words come several times in one sentence
    layer = layers.SentenceEmbedding(6, 8, 4, encoding, dtype=dtype)
    layer(ids)
    target = np.random.default_rng(1).normal(size=(3, 40, 4, 8))

    def run():
        with tf.GradientTape() as tape:
            found = layer(ids)
            loss = tf.reduce_sum(tf.cast(found, "float32") * target)
        return np.asarray(found, "float64"), np.asarray(tf.convert_to_tensor(tape.gradient(loss, layer.table.value)))

    counted = run()
    monkeypatch.setattr(sentence_embedding, "MOST_COUNTED_WORDS", 5)
    looked_up = run()
    for a, b in zip(counted, looked_up):
        tolerance = 1e-5 if dtype == "float32" else 0.03
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max())
    assert not counted[1][0].any() and not looked_up[1][0].any(), "padding is trained"


def test_position_weights_are_the_paper_s():
    """By hand for two units; the table makes the output the weights of word 1."""
    table = np.zeros((3, 1, 2))
    table[1] = 1
    layer = with_table(table)
    assert layer(np.array([[1, 2], [2, 1]])).numpy()[:, 0].tolist() == [[1.0, 1.0], [1.0, 2.0]]
    assert layer(np.array([[1, 0]])).numpy()[:, 0].tolist() == [[1.0, 2.0]]  # the only word is the last one
    four = layer(np.array([[1, 2, 2, 2], [2, 2, 2, 1]])).numpy()[:, 0]
    assert four.tolist() == [[1.0, 0.5], [1.0, 2.0]]


def test_word_order_is_told_apart_by_position_only():
    table = np.random.default_rng(0).normal(size=(7, 2, 6))
    ids = np.array([[1, 2, 3, 4], [4, 3, 2, 1], [2, 1, 3, 4], [1, 2, 4, 3]], "int32")
    position, bag = (with_table(table, encoding)(ids).numpy() for encoding in ("position", "bag"))
    np.testing.assert_allclose(bag, np.tile(bag[:1], (4, 1, 1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(bag[0], table[1:5].sum(axis=0), rtol=1e-5, atol=1e-6)
    assert all(np.abs(position[a] - position[b]).max() > 0.1 for a in range(4) for b in range(a))


@pytest.mark.parametrize("vocabulary", [11, ABOVE])
@pytest.mark.parametrize("encoding", ["position", "bag"])
def test_padding_adds_nothing(encoding, vocabulary):
    layer = layers.SentenceEmbedding(vocabulary, 5, 2, encoding)
    ids = sentences(3, 4, 6, vocabulary=vocabulary)
    found = layer(ids).numpy()
    assert (found[(ids == 0).all(axis=-1)] == 0).all() and (ids == 0).all(axis=-1).any()
    layer.table.assign(np.concatenate([np.full((1, 2, 5), 100.0), layer.table.numpy()[1:]]))
    longer = layer(np.pad(ids, ((0, 0), (0, 0), (0, 3)))).numpy()
    np.testing.assert_allclose(longer, found, rtol=1e-5, atol=1e-6)


def test_each_table_is_read_as_if_it_were_alone():
    table = np.random.default_rng(0).normal(size=(11, 3, 4))
    ids = sentences(5, 6, vocabulary=11)
    together = with_table(table)(ids).numpy()
    for number in range(3):
        alone = with_table(table[:, number:number + 1])(ids).numpy()
        np.testing.assert_allclose(together[:, number:number + 1], alone, rtol=1e-5, atol=1e-6)


def test_the_table_begins_as_in_the_paper():
    layer = layers.SentenceEmbedding(500, 40, 2)
    layer.build((None, 5))
    assert layer.table.numpy().std() == pytest.approx(0.1, rel=0.02)
    assert abs(layer.table.numpy().mean()) < 0.002


@pytest.mark.parametrize("settings, sentence", [
    (dict(vocabulary_size=0), "at least 1, got 0, 4, 1"), (dict(units=0), "at least 1, got 9, 0, 1"),
    (dict(tables=0), "at least 1, got 9, 4, 0"), (dict(encoding="order"), "position or bag, got 'order'")], ids=str)
def test_arguments_are_checked(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        layers.SentenceEmbedding(**{"vocabulary_size": 9, "units": 4} | settings)
