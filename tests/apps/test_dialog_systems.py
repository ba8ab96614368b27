"""The networks against plain numpy, on a few words."""
import keras
import numpy as np
import pytest

from apps.dialog.selector import Selector
from tests.apps import small_dialogs

INPUTS = {
    "history": np.zeros((2, small_dialogs.MEMORIES, 9), "int32"),
    "query": np.array([[14, 0, 0, 0, 0, 0, 0, 0], [9, 13, 13, 0, 0, 0, 0, 0]], "int32"),
    "entities": np.array([[0] * 10, [1, 2, 2, 0, 0, 0, 0, 0, 0, 0]], "int32"),
}
INPUTS["history"][1, 0, :3] = 7, 14, 16
INPUTS["history"][1, 1, :2] = 5, 14


def softmax_beside_zeros(x, zeros):
    return np.exp(x) / (np.exp(x).sum() + zeros)


@pytest.mark.parametrize("tied", [False, True])
def test_memn2n_is_the_equations_of_its_docstring(tied):
    model, config = small_dialogs.build(hops=2, embedding_size=5, tied=tied)
    logits, attention = (np.asarray(part) for part in model.attend(INPUTS))
    A, W, T = (np.asarray(layer.table)[:, 0] for layer in (model.embed, model.embed_response, model.times))
    rotation, types = np.asarray(model.rotation.kernel), np.asarray(model.type_vectors)
    encoder = model.encoder
    for row in range(2):
        u = sum(A[w] for w in INPUTS["query"][row] if w)
        lines = [line[line > 0] for line in INPUTS["history"][row] if line.any()]
        memory = [A[line].sum(axis=0) + T[len(lines) - place] for place, line in enumerate(lines)]
        for hop in range(2):
            if memory:
                p = softmax_beside_zeros(np.array([u @ m for m in memory]), small_dialogs.MEMORIES - len(memory))
                np.testing.assert_allclose(attention[row, hop, :len(p)], p, rtol=1e-4)
                u = u + sum(weight * m for weight, m in zip(p, memory)) @ rotation
            assert not attention[row, hop, len(memory):].any()
        for place, text in enumerate(small_dialogs.INFO.candidates):
            vector = W[encoder.words([text])[0].numpy()].sum(axis=0)
            for kind in {encoder.types[e - 1] for e in encoder.entities([text])[0].numpy() if e in INPUTS["entities"][row]}:
                vector = vector + types[kind]
            assert logits[row, place] == pytest.approx(u @ vector, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("use_history", [False, True])
def test_supervised_embeddings_are_a_product_of_sums(use_history):
    model, _ = small_dialogs.build("supervised_embeddings", embedding_size=6, use_history=use_history)
    A, B = (np.asarray(layer.table)[:, 0] for layer in (model.embed, model.embed_response))
    logits = np.asarray(model(INPUTS))
    for row in range(2):
        words = np.concatenate([INPUTS["query"][row], *([INPUTS["history"][row].ravel()] if use_history else [])])
        x = A[words[words > 0]].sum(axis=0)
        for place, text in enumerate(small_dialogs.INFO.candidates):
            assert logits[row, place] == pytest.approx(x @ B[model.encoder.words([text])[0].numpy()].sum(axis=0), abs=1e-5)


def test_the_margin_loss_is_a_mean_over_the_drawn_responses():
    model, config = small_dialogs.build("supervised_embeddings", negatives=500, margin=0.3)
    logits = np.random.default_rng(0).normal(size=(3, 7)).astype("float32")
    responses = np.array([2, 0, 6])
    expected = [max(0.0, 0.3 - logits[row, right] + logits[row, wrong]) * (wrong != right)
                for row, right in enumerate(responses) for wrong in (0, 1, 2, 6)]  # the candidates that training can express
    assert float(model.loss_of(logits, responses)) == pytest.approx(np.mean(expected), rel=0.2)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("match_type", [False, True])
def test_tfidf_is_a_cosine_under_every_precision(match_type, precision):
    model, _ = small_dialogs.build("tfidf", match_type=match_type)
    scores = np.asarray(model.scores(model(INPUTS)))
    texts = [model.encoder.words([text])[0].numpy().tolist() for text in small_dialogs.INFO.candidates]
    named = [set(row) for row in model.encoder.entities(small_dialogs.INFO.candidates).to_list()]
    kinds = [{model.encoder.types[e - 1] for e in row} for row in named]
    rarity = {word: np.log(7 / sum(word in text for text in texts)) for text in texts for word in text}
    rarity_of_kind = {kind: np.log(7 / sum(kind in own for own in kinds)) for own in kinds for kind in own}
    for row in range(2):
        query = [w for w in INPUTS["query"][row] if w in rarity]
        matches = [{model.encoder.types[e - 1] for e in own & set(INPUTS["entities"][row])} if match_type else set() for own in named]
        squares = sum((query.count(w) * rarity[w]) ** 2 for w in set(query)) + \
            sum(rarity_of_kind[kind] ** 2 for kind in set().union(*matches))
        for place, text in enumerate(texts):
            product = sum(query.count(w) * text.count(w) * rarity[w] ** 2 for w in set(text))
            product += sum(rarity_of_kind[kind] ** 2 for kind in matches[place])
            norm = sum((text.count(w) * rarity[w]) ** 2 for w in set(text)) + sum(rarity_of_kind[k] ** 2 for k in matches[place])
            expected = product / np.sqrt(squares * norm) if squares * norm else 0.0
            assert scores[row, place] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("system", small_dialogs.APP.systems)
def test_candidates_that_training_cannot_express_take_no_part_in_it(system):
    model, _ = small_dialogs.build(system, **({"noise": 0.0} if system == "memn2n" else {}))
    free, trained = np.asarray(model(INPUTS)), np.asarray(model(INPUTS, training=True))
    known = [0, 1, 2, 6]
    np.testing.assert_allclose(trained[:, known], free[:, known], rtol=1e-6)
    assert (np.delete(trained, known, axis=1) < -1e8).all() and (free > -1e3).all()


def test_tied_vectors_repeat_a_word_that_training_never_showed():
    """Both numbers are unseen; the answer names the one that a line of the dialogue holds."""
    model, _ = small_dialogs.build(tied=True, match_type=False, embedding_size=64)
    words = model.encoder.vocabulary.words
    assert model.choosable.tolist() == [True, True, True, False, False, False, True]
    for number, candidate, other in (("555-1", 4, 5), ("555-2", 5, 4)):
        named = {name: value[:1].copy() * 0 for name, value in INPUTS.items()}
        named["history"][0, 0, :3] = [words.index(word) for word in ("#kb", "phone", number)]
        logits = np.asarray(model(named))[0]
        assert logits[candidate] > logits[other] + 0.1


def test_a_match_makes_an_unseen_number_the_answer():
    """Two candidates that differ in nothing else than which phone number the dialogue names."""
    model, _ = small_dialogs.build()
    phone = 1 + [fact.split()[2] for fact in small_dialogs.INFO.knowledge].index("555-1")
    named = {name: value[:1].copy() for name, value in INPUTS.items()}
    before = np.asarray(model(named))[0]
    assert before[4] == pytest.approx(before[5])
    named["entities"][0, 0] = phone
    after = np.asarray(model(named))[0]
    assert after[5] == pytest.approx(before[5]) and after[4] != pytest.approx(before[4], abs=1e-6)


@pytest.mark.parametrize("precision", ["mixed_float16"], indirect=True)
@pytest.mark.parametrize("system", ["memn2n", "supervised_embeddings"])
def test_a_step_in_float16_is_that_in_float32(system, precision):
    quiet = {"noise": 0.0, "hops": 2} if system == "memn2n" else {}
    half, _ = small_dialogs.build(system, embedding_size=5, **quiet)
    keras.config.set_dtype_policy("float32")
    full, _ = small_dialogs.build(system, embedding_size=5, **quiet)
    responses = {"response": np.array([2, 0], "int32")}
    for model in (half, full):
        model.compile(optimizer=keras.optimizers.SGD(0.1))
        model.optimizer.build(model.trainable_variables)
    assert isinstance(half.optimizer, keras.optimizers.LossScaleOptimizer)
    before = [np.asarray(variable) for variable in full.trainable_variables]
    losses = [float(model.train_step((INPUTS, responses))["loss"]) for model in (half, full)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    moved = 0.0
    for old, one, other in zip(before, half.trainable_variables, full.trainable_variables):
        step = np.asarray(other) - old
        np.testing.assert_allclose(np.asarray(one) - old, step, atol=0.02 * max(np.abs(step).max(), 1e-3))
        moved = max(moved, np.abs(step).max())
    assert moved > 1e-3


def test_a_system_that_is_not_trained_takes_a_step_too():
    model, _ = small_dialogs.build("tfidf")
    before = [np.asarray(variable) for variable in model.weights]
    loss = model.train_step((INPUTS, {"response": np.array([2, 0], "int32")}))["loss"]
    assert np.isfinite(loss) and model.optimizer is None
    for old, variable in zip(before, model.weights):
        np.testing.assert_array_equal(old, np.asarray(variable))


def test_a_system_without_logits_is_refused_when_it_is_defined():
    with pytest.raises(TypeError, match="Mute must define logits"):
        class Mute(Selector):
            pass
