"""Stories as arrays, the memory network's parts and rules, its answers to a client, and the table over the tasks."""
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from apps.memory_qa import data, evaluation, memn2n, serving, stories, table
from apps.memory_qa.answerer import Answerer
from apps.memory_qa.data import Info
from apps.memory_qa.systems import Table
from benchmarks import damage
from training import UserError, cli
from training.app import App
from training.data.spec import Spec

APP = App("memory_qa")
NAMES = ["where", "who"]
WORDS = ["", "<unknown>", *"abcdefgh"]
SENTENCES = [b"Mary went to the kitchen.", b"John went to the garden.", b"John took the milk."]


def questions(count, last_word=b"kitchen"):
    """Returns questions of two tasks; story i has i % 3 + 1 sentences."""
    lengths = np.arange(count) % 3 + 1
    rows = np.concatenate([np.arange(length) for length in lengths])
    return stories.Stories(SENTENCES, rows, lengths, np.array([b"Where is Mary?"] * count, object),
                           np.array([last_word] * count, object), np.arange(count) % 2, np.arange(count) // 2)


def settings(**changes):
    return APP.config("memn2n", **(dict(embedding_size=6, hops=2, memory_size=5, batch_size=4) | changes))


def network(memories=5, **changes):
    spec = Spec({"story": tf.TensorSpec([None, memories, 4], tf.int32)}, {}, Info(words=WORDS, tasks=NAMES))
    keras.utils.set_random_seed(0)
    model = memn2n.build_model(settings(**changes), spec, steps=100)
    model.optimizer.build(model.trainable_variables)
    return model


def batch(rows=4, memories=5):
    random = np.random.default_rng(1)
    story = random.integers(2, 10, (rows, memories, 4)).astype("int32")
    for row in range(rows):
        story[row, 1 + row % memories:] = 0
    return ({"story": tf.constant(story), "question": tf.constant(random.integers(2, 10, (rows, 4)), tf.int32)},
            {"answer": tf.constant(random.integers(2, 10, rows), tf.int32)})


def test_the_vocabulary_is_of_the_training_split_and_no_story_is_in_two_parts():
    splits = stories.splits(questions(40), questions(6, last_word=b"attic"), NAMES, settings())
    words = splits.spec.info.words
    assert "kitchen" in words and "attic" not in words and splits.spec.info.tasks == NAMES
    answers = np.concatenate([targets["answer"].numpy() for _, targets in splits.test])
    assert (answers == 1).all() and len(answers) == 6  # never seen in training
    fitting = sum(len(targets["task"]) for _, targets in splits.train(0, 0, tf.distribute.InputContext()))
    validation = sum(len(targets["task"]) for _, targets in splits.validation)
    assert validation == 4 and fitting == 36  # two of twenty stories, both of their questions each


def test_the_latest_sentences_are_kept_oldest_first():
    inputs, _ = next(iter(stories.splits(questions(40), questions(6), NAMES, settings(memory_size=2)).test))
    words = stories.splits(questions(40), questions(6), NAMES, settings(memory_size=2)).spec.info.words
    said = [[" ".join(words[word] for word in sentence if word) for sentence in story] for story in inputs["story"].numpy()[:3]]
    assert said == [["mary went to the kitchen", ""], ["mary went to the kitchen", "john went to the garden"],
                    ["john went to the garden", "john took the milk"]]


@pytest.mark.parametrize("tying", ["adjacent", "layer_wise"])
def test_the_four_parts_make_the_answer(tying):
    model = network(tying=tying)
    inputs, _ = batch()
    u, attention = model.output_features(model.input_features(inputs["question"]), *model.generalization(inputs["story"]))
    logits, shown = model(inputs)
    np.testing.assert_allclose(model.response(u), logits, rtol=1e-6)
    np.testing.assert_allclose(attention, shown, rtol=1e-6)


def test_a_short_story_is_answered_alike_in_a_large_memory():
    """Training takes the smallest memory that holds the batch; what is padded may not count."""
    model = network(memories=40, memory_size=40)
    inputs, targets = batch(memories=40)
    short = {"story": inputs["story"][:, :8] * tf.cast(tf.range(8)[None, :, None] < 4, tf.int32), "question": inputs["question"]}
    long = short | {"story": tf.pad(short["story"], [[0, 0], [0, 32], [0, 0]])}
    np.testing.assert_allclose(model(short)[0], model(long)[0], rtol=1e-5, atol=1e-6)
    assert model.sizes == [8, 16, 32, 40]


def test_networks_side_by_side_have_rates_of_their_own():
    model = network(restarts=3, noise=0.0, linear_start=False)
    model.rate.assign([0.0, 1.0, 1.0])
    before = model.embed.table.numpy()
    model.train_step(batch())
    moved = np.abs(model.embed.table.numpy() - before).reshape(10, 3, 3, 6).max(axis=(0, 1, 3))
    assert moved[0] == 0 and (moved[1:] > 1e-4).all()


def test_a_network_beside_others_learns_as_it_does_alone():
    three, alone = (network(restarts=n, noise=0.0, linear_start=False) for n in (3, 1))
    tables = three.embed.table.numpy().reshape(10, 3, 3, 6), three.times.table.numpy().reshape(-1, 3, 3, 6)
    for layer, values in zip((alone.embed, alone.times), tables):
        layer.table.assign(values[:, :, 1])
    for model in (three, alone):
        for _ in range(3):
            model.train_step(batch())
    np.testing.assert_allclose(three.embed.table.numpy().reshape(10, 3, 3, 6)[:, :, 1], alone.embed.table.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tying", ["adjacent", "layer_wise"])
def test_the_gradient_of_each_matrix_is_scaled_to_norm_40(tying):
    model = network(restarts=2, tying=tying, linear_start=False)
    random = np.random.default_rng(0)
    scales = {variable.path: 50.0 * (i % 2) + 0.1 for i, variable in enumerate(model.trainable_variables)}
    gradients = [scales[v.path] * random.normal(size=v.shape).astype("float32") for v in model.trainable_variables]
    steps = [np.asarray(step) for step in model._steps(gradients, tf.constant([1.0, 0.5]))]
    tables = [i for i, v in enumerate(model.trainable_variables) if v is model.embed.table or v is model.times.table]
    for places in [tables, *([i] for i in range(len(steps)) if i not in tables)]:
        given, found = (np.concatenate([part[i] for i in places]) for part in (gradients, steps))
        for matrix in range(given.shape[1]):
            rate = (1.0, 0.5)[matrix % 2]
            expected = given[:, matrix] * rate / max(1, np.linalg.norm(given[:, matrix], 2) / 40)
            if places == tables and matrix < given.shape[1] - 2:
                expected[1] = 0  # the word of empty places, of all tables but the last
            np.testing.assert_allclose(found[:, matrix], expected, rtol=2e-3, atol=1e-6)


def test_only_the_last_table_learns_what_an_empty_place_says():
    model = network(linear_start=False)
    before = model.embed.table.numpy()[1]
    for _ in range(2):
        model.train_step(batch())
    after = model.embed.table.numpy()[1]
    assert not before[:-1].any() and not after[:-1].any() and (after[-1] != before[-1]).all()


def test_the_linear_start_takes_its_epochs_then_the_rate_falls_by_quarters():
    model = network(restarts=2, epochs=100)
    assert network(epochs=40).linear_epochs == 10 and network(epochs=3).linear.numpy().tolist() == [0]
    assert network(linear_start=False).rate.numpy().tolist() == [1.0]
    assert model.linear.numpy().tolist() == [1, 1] and model.rate.numpy().tolist() == [0.5, 0.5]
    for epoch in range(memn2n.LINEAR_EPOCHS):
        assert model.linear.numpy().tolist() == [1, 1]
        model.end_epoch(np.array([2.0, 3.0]), np.array([0.5, 0.4]))
    assert model.linear.numpy().tolist() == [0, 0] and model.rate.numpy().tolist() == [0.5, 0.5]
    assert int(model.chosen.numpy()) == 1
    for epoch in range(40):
        model.end_epoch(np.array([2.0, 3.0]), np.array([0.4, 0.4]))
    assert model.rate.numpy().tolist() == [0.125, 0.125]  # 40 of 80 epochs: two quarters
    assert int(model.chosen.numpy()) == 0  # of equal errors the lower loss


def test_what_a_story_leaves_empty_takes_part_in_the_softmax():
    """A memory of 40 with one sentence that says nothing for the question: 1 of 40 equal scores."""
    model = network(memories=40, memory_size=40, hops=1, linear_start=False)
    model.embed.table.assign(model.embed.table.numpy() * 0)
    model.times.table.assign(model.times.table.numpy() * 0)
    inputs, _ = batch(memories=40)
    story = inputs["story"] * tf.cast(tf.range(40)[None, :, None] < 1, tf.int32)
    _, attention = model(inputs | {"story": story})
    np.testing.assert_allclose(attention[..., 0], 1 / 40, rtol=1e-5)


def test_padded_sentences_end_in_the_word_of_empty_places():
    own, padded = network(linear_start=False), network(linear_start=False, padded=True)
    words = tf.constant([[3, 4, 0, 0, 0], [5, 6, 7, 8, 9], [0, 0, 0, 0, 0]])  # the longest sentence of the set has four
    assert np.asarray(padded._padded(words)).tolist() == [[3, 4, 1, 1, 0], [5, 6, 7, 8, 9], [1, 1, 1, 1, 0]]
    np.testing.assert_array_equal(own._padded(words), words)
    inputs, _ = batch()
    wide = {"story": tf.pad(inputs["story"], [[0, 0], [0, 0], [0, 9]]), "question": tf.pad(inputs["question"], [[0, 0], [0, 2]])}
    for model in (own, padded):
        np.testing.assert_allclose(model(inputs)[0], model(wide)[0], rtol=1e-5, atol=1e-6)


def test_without_softmax_the_hops_are_linear_in_the_question():
    """The mark of the linear start: twice the first query gives, in one hop, twice the output."""
    model = network(hops=1)
    inputs, _ = batch()
    u, (memory, mask) = model.input_features(inputs["question"]), model.generalization(inputs["story"])
    once, twice = (model.output_features(scale * u, memory, mask)[0] for scale in (1, 2))
    np.testing.assert_allclose(2 * once, twice, rtol=1e-5)
    model.linear.assign([0.0])
    once, twice = (model.output_features(scale * u, memory, mask)[0] for scale in (1, 2))
    assert np.abs(2 * once - twice).max() > 1e-5


class Fixed(Answerer):
    """Answers 2 with one network and 3 with another."""

    chosen = 1

    def call(self, inputs, training=False):
        return tf.one_hot([[2, 3]] * inputs["question"].shape[0], 5) * 9.0, None


def test_errors_are_means_over_tasks_and_any_right_answer_counts():
    batches = [({"question": np.zeros((4, 1))}, {"answer": np.array([3, 2, 2, 3], "int32"), "task": np.array([0, 0, 0, 1])})]
    metrics = evaluation.evaluate(Fixed(), batches, settings(), Info(words=WORDS, tasks=NAMES))
    assert metrics["per_task"] == pytest.approx({"where": 2 / 3, "who": 0.0}) and metrics["error"] == pytest.approx(1 / 3)
    assert metrics["failed_tasks"] == 1 and metrics["error_median"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    several = [(batches[0][0], batches[0][1] | {"answers": np.array([[2, 3], [4, 0], [4, 3], [2, 0]], "int32")})]
    assert evaluation.evaluate(Fixed(), several, settings(), Info(words=WORDS, tasks=NAMES))["per_task"] == pytest.approx(
        {"where": 1 / 3, "who": 1.0})


def test_what_a_client_gets():
    model = network(memory_size=5)
    info = Info(words=WORDS, tasks=NAMES)
    explain = serving.signatures(model, settings(), info)["explain"][0]
    texts = ["", "a b. c d!\ne f", "a zebra.", "\n".join(f"a {word}" for word in "bcdefgh"), "a b", "a " * 70]
    asked = ["where a?", "where a?", "a?", "a?", " ?! ", "a?"]
    answer = {name: value.numpy() for name, value in tf.function(explain)(tf.constant(texts), tf.constant(asked)).items()}
    errors = [error.decode() for error in answer["error"]]
    assert errors[:4] == [""] * 4 and "no words" in errors[4] and "more than 64 words" in errors[5]
    assert all(answer["answer"][:4]) and not any(answer["answer"][4:]) and (answer["score"][4:] == 0).all()
    assert (answer["attention"][0] == 0).all()  # an empty story reads nothing
    assert answer["sentences"][1].tolist() == [b"a b.", b"c d!", b"e f", b"", b""]
    assert answer["sentences"][3].tolist() == [f"a {word}".encode() for word in "defgh"]  # the latest ones
    assert answer["unknown_words"][2] == b"zebra" and answer["unknown_words"][0] == b"where"


def test_a_network_of_other_sizes_can_be_the_next_version():
    info = Info(words=WORDS, tasks=NAMES)
    signatures = []
    for sizes in (dict(memory_size=5, hops=2), dict(memory_size=9, hops=3)):
        explain, inputs = serving.signatures(network(memories=5, **sizes), settings(**sizes), info)["explain"]
        signatures.append(tf.function(explain).get_concrete_function(**inputs).structured_outputs)
    first, second = ({name: (spec.shape.as_list(), spec.dtype) for name, spec in outputs.items()} for outputs in signatures)
    assert first == second and first["attention"][0] == [None, None, None] and first["sentences"][0] == [None, None]


@pytest.fixture(scope="module", params=[("memn2n", {}), ("key_value", dict(memory="window")), ("lstm", {})], ids=lambda given: given[0])
def short(request):
    """A system whose training stories have three sentences or fewer, as a function from stories and questions to answers."""
    model, changes = request.param
    config = APP.config(model, embedding_size=6, memory_size=10, **changes)
    spec = Spec({"story": tf.TensorSpec([None, 3, 4], tf.int32)}, {}, Info(words=WORDS, tasks=NAMES))
    explain = tf.function(serving.signatures(APP.build_model(config, spec, steps=10), config, spec.info)["explain"][0],
                          input_signature=[tf.TensorSpec([None], tf.string)] * 2)
    return model, lambda rows: {
        name: value.numpy() for name, value in explain(*(tf.constant(rows[name]) for name in ("story", "question"))).items()}


def test_a_story_longer_than_any_of_training_keeps_its_latest_sentences(short):
    model, answer = short
    sentences = [f"a {word}." for word in "bcdefgh" * 3]
    texts = ["a b. c d.", " ".join(sentences), " ".join(sentences[-3 if model != "lstm" else -10:])]
    together, alone = answer({"story": texts, "question": ["where a?"] * 3}), answer({"story": texts[:1], "question": ["where a?"]})
    assert together["error"].tolist() == [b""] * 3 and together["answer"][1] == together["answer"][2]
    np.testing.assert_allclose(together["score"], [alone["score"][0], together["score"][2], together["score"][2]], rtol=1e-5)
    assert together["sentences"][1].tolist()[-1] == sentences[-1].encode()


STRANGE = [b"", b"\0", b"a\0b. c\xff\xfe d", b"\xed\xa0\x80 a. \xc3", b"\n\r\n\t . ! ?", b"a" * 100_000, b"a b. " * 5_000, b"a " * 3_000,
           "\ufeffa \U0001f600. \u2028 b \u200b".encode(), b"[a] [[b] %s {0} \\1 \\n", b"a " * 600_000]


def test_strange_and_hostile_texts_are_answered_or_refused_and_change_no_neighbor(short):
    _, answer = short
    rows = [{"story": b"a b.", "question": text} for text in STRANGE] + [{"story": text, "question": b"a?"} for text in STRANGE]
    report = damage.check_export(answer, [*rows, *damage.hostile_questions(50, seed=2)], {"story": b"a b. c d.", "question": b"where a?"})
    assert not report.failures and min(report.counts["answered"], report.counts["refused"]) > 5
    found = answer({name: [row[name] for row in rows[len(STRANGE):]] for name in rows[0]})
    assert found["error"].tolist()[-1] == b"the text has more than 1,000,000 bytes"
    assert all((error == b"") == (answer != b"") for error, answer in zip(found["error"], found["answer"]))
    assert "c\ufffd\ufffd d".encode() in found["sentences"][2].tolist()  # no sentence is lost


def test_requests_are_files_or_questions(tmp_path):
    file = tmp_path / "story.txt"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        file.write_text("Mary went home.\n\nWhere is Mary?\n", encoding=encoding)
        assert serving.request(str(file)).inputs == {"story": [b"Mary went home."], "question": [b"Where is Mary?"]}
    assert serving.request("Bill left. Where is Bill?").inputs == {"story": [b"Bill left."], "question": [b"Where is Bill?"]}
    assert serving.request("Where is \udcff?").inputs["question"] == [b"Where is ??"]  # typed, and no UTF-8
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "picture.txt").write_bytes(b"\xff\xfe\x00\x01\x02")
    for name, words in (("empty.txt", "contains no question"), ("picture.txt", "is not UTF-16 text"), ("none.txt", "No such file")):
        with pytest.raises(UserError, match=words):
            serving.request(str(tmp_path / name))


def test_an_answer_is_a_document_and_lines():
    answer = {"answer": np.array([b"home"], object), "error": np.array([b""], object), "score": np.array([0.5]),
              "unknown_words": np.array([b"bill"], object), "attention": np.array([[[0.7, 0.3, 0.0]]]),
              "sentences": np.array([[b"Bill left.", b"Bill went home.", b""]], object)}
    document, said = serving.present(None, answer, None)
    assert document["answer"] == "home" and document["unknown_words"] == ["bill"] and document["error"] == ""
    assert document["read"][0] == {"hop": 1, "sentence": "Bill left.", "attention": 0.7} and len(document["read"]) == 2
    assert said == ["home (0.50)", "never seen in training: bill", "hop 1  0.70  Bill left.", "hop 1  0.30  Bill went home."]


@pytest.mark.parametrize("precision", ["mixed_float16"], indirect=True)
def test_a_step_in_float16_is_the_one_in_float32(precision):
    """The gradients are of the true size: neither the bound on their norm nor the step sees the scale of the loss."""
    model = network(restarts=2, noise=0.0, linear_start=False)
    keras.config.set_dtype_policy("float32")
    plain = network(restarts=2, noise=0.0, linear_start=False)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) and model.optimizer.initial_scale == 32
    before = [weight.numpy() for weight in plain.trainable_variables]
    for weight, value in zip(model.trainable_variables, before):
        weight.assign(value)
    for each in (plain, model):
        for _ in range(3):
            each.train_step(batch())
    for value, expected, found in zip(before, plain.trainable_variables, model.trainable_variables):
        moved = np.abs(expected.numpy() - value).max()
        assert moved > 1e-3
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=0.02 * moved)


def test_xla_gives_the_same_step():
    found = []
    for compiled in (False, True):
        model = network(memories=12, memory_size=12, restarts=2, noise=0.0)
        step = tf.function(model.train_step, jit_compile=compiled)
        losses = [float(step(batch(memories=memories))["loss"]) for memories in (12, 12)]
        found.append([*losses, *(weight.numpy().sum() for weight in model.trainable_variables)])
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-4)


def test_a_system_without_members_answers_with_its_first_network():
    model = APP.build_model(APP.config("lstm", embedding_size=6), Spec({}, {}, Info(words=WORDS, tasks=NAMES)), 10)
    assert int(model.chosen_index()) == 0 and model.end_epoch(np.zeros(1), np.ones(1)) is None
    inputs, _ = batch()
    assert model.memory_vectors(inputs["story"]) is None
    np.testing.assert_array_equal(model.word_vectors(), model.embed.table.numpy()[:, 0])


def test_of_several_members_the_chosen_one_is_shown():
    model = network(restarts=3)
    model.chosen.assign(2)
    inputs, _ = batch()
    np.testing.assert_array_equal(model.word_vectors(), model.embed.table.numpy()[:, 2])
    assert model.memory_vectors(inputs["story"]).shape == (4, 5, 6)
    np.testing.assert_array_equal(model.memory_vectors(inputs["story"]), model.generalization(inputs["story"])[0][:, :-1, 0, 2])


def test_intervals_are_of_questions_drawn_again():
    batches = [({"question": np.zeros((40, 1))}, {"answer": np.tile(np.array([3, 2], "int32"), 20), "task": np.arange(40) // 20})]
    metrics = evaluation.evaluate(Fixed(), batches, settings(), Info(words=WORDS, tasks=NAMES), resamples=50)
    low, high = metrics["intervals"]["error"]
    assert 0.2 < low < metrics["error"] == 0.5 < high < 0.8


def test_a_quick_check_tests_on_few_batches():
    batch = ({"question": np.zeros((1, 1))}, {"answer": np.array([3], "int32"), "task": np.array([0])})
    wrong = (batch[0], batch[1] | {"answer": np.array([2], "int32")})
    errors = [evaluation.evaluate(Fixed(), [batch, wrong], settings(limit_steps=limit), Info(words=WORDS, tasks=NAMES))["error"]
              for limit in (1, 2, None)]
    assert errors == [0.0, 0.5, 0.5]


def test_the_table_has_settings_of_its_own_that_flags_change(monkeypatch):
    asked = []
    monkeypatch.setattr(table, "run", lambda app, config: asked.append(config))
    for flags in ([], ["--embedding-size", "50", "--padded", "False"]):
        cli.main("apps.memory_qa", ["table", *flags])
    plain, changed = asked
    assert (plain.embedding_size, plain.epochs, plain.restarts, plain.padded, plain.hops) == (20, 120, 10, True, 3)
    assert (changed.embedding_size, changed.epochs, changed.restarts, changed.padded) == (50, 120, 10, False)


def test_the_table_goes_on_where_it_was_stopped(tmp_path, capsys):
    chosen = dict(embedding_size=6, hops=2, batch_size=4, limit_steps=2, restarts=2, tasks=(1, 6), runs=str(tmp_path), memory_size=8,
                  xla=False)
    kept = table.run(APP, Table.of(**chosen))
    assert len(kept) == 2 and all(0 <= row["error"] <= 1 for row in kept.values())
    path = tmp_path / "memory_qa" / "table.json"
    changed = json.loads(path.read_text())
    first, second = changed["rows"]
    changed["rows"][first]["error"] = 0.123
    del changed["rows"][second]
    path.write_text(json.dumps(changed))
    again = table.run(APP, Table.of(**chosen))
    assert again[first]["error"] == 0.123 and len(again) == 2  # kept, and the missing one trained
    assert "mean of 2" in capsys.readouterr().out
    with pytest.raises(UserError, match="other settings"):
        table.run(APP, Table.of(**chosen | dict(limit_steps=3)))


def refused(capsys, *arguments):
    """Returns the sentence with which arguments are refused."""
    with pytest.raises(SystemExit) as ended:
        cli.main("apps.memory_qa", list(arguments))
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1
    return shown.err


def test_the_table_is_of_one_system_and_keeps_no_networks(capsys, tmp_path):
    assert "memn2n" in refused(capsys, "table", "--model", "lstm", "--runs", str(tmp_path))
    for flags in (["--saved-models", "models"], ["--force"], ["--checkpoint-every", "5"], ["--initialize", "some"]):
        assert f"{flags[0]} has no effect, because `table` saves no networks" in refused(capsys, "table", *flags, "--runs", str(tmp_path))
    assert "plain folder name" in refused(capsys, "table", "--name", "../table", "--runs", str(tmp_path))


@pytest.mark.parametrize("dataset", ["metaqa/1-hop", "pathquestion/2-hop"])
@pytest.mark.parametrize("model", ["memn2n", "key_value", "lstm"])
def test_a_knowledge_base_has_no_tasks_to_choose(capsys, model, dataset):
    message = refused(capsys, "--model", model, "--dataset", dataset, "--tasks", "1")
    assert message == f"error: --tasks has no effect with --dataset {dataset}: leave it out\n"
    assert APP.config(model, dataset=dataset).tasks == () and APP.config(model, dataset="babi", tasks=(1,)).tasks == (1,)


def test_unknown_tasks_are_refused():
    with pytest.raises(UserError, match="must be between 1 and 20, got 21"):
        data.datasets(settings(tasks=(1, 21)))
