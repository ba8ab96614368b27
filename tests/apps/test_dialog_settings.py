"""The settings of the dialogue systems: values by data set, and what is refused."""
import pytest

from tests.apps import small_dialogs
from training import UserError, cli


@pytest.mark.parametrize(("model", "dataset", "values"), [
    ("memn2n", "restaurant_booking", dict(epochs=20, learning_rate=5e-3, memory_size=100)),
    ("memn2n", "dialog_babi/task1", dict(epochs=30, learning_rate=3e-3, memory_size=100)),
    ("memn2n", "dialog_babi/task6", dict(epochs=30, learning_rate=3e-3, memory_size=200)),
    ("supervised_embeddings", "dialog_babi/task6", dict(epochs=20, learning_rate=1e-2, memory_size=200)),
    ("tfidf", "dialog_babi/task5", dict(epochs=1, memory_size=100)),
])
def test_defaults_follow_the_data_set(model, dataset, values):
    config = small_dialogs.APP.config(model, dataset=dataset)
    assert {name: getattr(config, name) for name in values} == values and not config.BFLOAT16


@pytest.mark.parametrize("changes", [dict(learning_rate=0.1), dict(epochs=2), dict(validate_every=2)])
@pytest.mark.parametrize("dataset", ["restaurant_booking", "dialog_babi/task1"])
def test_a_setting_without_effect_is_refused_in_one_sentence(dataset, changes):
    """Nothing of TF-IDF is trained: neither rate nor epochs change it."""
    (name,) = changes
    with pytest.raises(UserError) as refused:
        small_dialogs.APP.config("tfidf", dataset=dataset, **changes)
    assert str(refused.value) == f"--{name.replace('_', '-')} has no effect with --model tfidf: leave it out"


@pytest.mark.parametrize(("flags", "sentence"), [
    (["--model", "tfidf", "--learning-rate", "0.1"], "--learning-rate has no effect with --model tfidf: leave it out"),
    (["--model", "tfidf", "--hops", "2"], "--hops is not a setting of tfidf; it belongs to memn2n"),
    (["--model", "supervised_embeddings", "--match-type"], "--match-type is not a setting of supervised_embeddings; "
     "it belongs to memn2n, tfidf"),
    (["--use-history"], "--use-history is not a setting of memn2n; it belongs to supervised_embeddings, tfidf"),
    (["--noise", "-0.1"], "--noise must be 0 or more, got -0.1"),
    (["--embedding-size", "0"], "--embedding-size must be 1 or more, got 0"),
    (["--model", "supervised_embeddings", "--margin", "0"], "--margin must be above 0, got 0.0"),
    (["search", "--model", "tfidf"], "tfidf has no settings left to search"),
])
def test_the_command_line_refuses_in_one_sentence(flags, sentence, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main("apps.dialog", flags)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_data_gives_each_system_the_words_that_it_reads():
    configs = {model: small_dialogs.APP.config(model) for model in small_dialogs.APP.systems}
    assert {model: config.marks_types for model, config in configs.items()} == {
        "memn2n": True, "supervised_embeddings": False, "tfidf": True}
    assert not any(config.keeps_unseen_words for config in configs.values())
    assert small_dialogs.APP.config("memn2n", tied=True).keeps_unseen_words
    assert not small_dialogs.APP.config("memn2n", match_type=False).marks_types
