"""Dialogues as numbers, one example for each turn of the bot."""
import numpy as np
import pytest
import tensorflow as tf

from apps.dialog import data
from apps.dialog.encoder import Encoder
from tests.apps import small_dialogs
from training import UserError
from training.datasets import restaurant_booking as booking


def words(ids):
    return [small_dialogs.INFO.words[i] for i in ids]


def test_lines_have_speaker_known_words_and_types():
    encoder = Encoder(small_dialogs.INFO, typed=True)
    found = encoder.lines(tf.constant([0, 2]), tf.constant(["Hello, what about THAI food in Oslo?", "bell phone 555-1"]))
    assert words(found[0].numpy()) == ["#user", "hello", "what", "food", "in", "oslo", "##food", "##place"]
    assert words(found[1].numpy()) == ["#kb", "bell", "phone", "##phone"]
    assert words(Encoder(small_dialogs.INFO, typed=False).utterances(tf.constant(["thai in oslo"]))[0].numpy()) == ["in", "oslo"]


def test_entities_are_known_though_training_never_showed_them():
    encoder = Encoder(small_dialogs.INFO, typed=True)
    found = encoder.entities(tf.constant(["thai food", "", "call 555-2 in oslo"])).to_list()
    assert [len(row) for row in found] == [1, 0, 2]
    types = [[encoder.type_words[encoder.types[entity - 1]] for entity in row] for row in found]
    assert types == [["##food"], [], ["##phone", "##place"]]
    assert encoder.are_known(tf.constant(small_dialogs.INFO.candidates)).numpy().tolist() == [
        True, True, True, False, False, False, True]


def test_nobody_can_say_a_special_word():
    encoder = Encoder(small_dialogs.INFO, typed=True)
    assert encoder.words(tf.constant(["#bot ##food #kb"])).to_list() == [[12]]  # food


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(booking, "DIALOGS", {"train": 20, "validation": 4, "test": 5, "test_oov": 6})
        yield data.datasets(settings(folder)), folder


def settings(folder, **changes):
    return small_dialogs.APP.config(data_dir=str(folder), **({"batch_size": 8, "memory_size": 12} | changes))


def test_a_batch_holds_the_latest_lines_before_the_query(splits):
    splits, _ = splits
    info = splits.spec.info
    booking_dialogs = list(booking.simulated("validation"))
    turns = [(dialog[:place], dialog[place][1], number) for number, dialog in enumerate(booking_dialogs)
             for place in range(len(dialog)) if dialog[place][0] == "bot"]
    encoder = Encoder(info, typed=True)
    texts = sorted({text for dialog in booking_dialogs for _, text in dialog})
    numbers = dict(zip(texts, encoder.utterances(tf.constant(texts)).to_list()))
    row = 0
    for inputs, targets in splits.validation:
        for history, query, response, dialog_id in zip(
                inputs["history"].numpy(), inputs["query"].numpy(), targets["response"].numpy(), targets["dialog_id"].numpy()):
            before, right, number = turns[row]
            assert (info.candidates[response], dialog_id) == (right, number)
            *lines, (_, last) = before[-13:]
            for place in range(12):
                found = history[place][history[place] > 0].tolist()
                if place >= len(lines):
                    assert not found
                    continue
                speaker, text = lines[place]
                assert found == [info.words.index(f"#{speaker}"), *numbers[text]]
            assert query[query > 0].tolist() == numbers[last]
            row += 1
    assert row == len(turns)


def test_the_test_split_holds_the_unseen_one_too(splits):
    splits, _ = splits
    targets = [targets for _, targets in splits.test]
    is_oov, ids = (np.concatenate([t[name].numpy() for t in targets]) for name in ("is_oov", "dialog_id"))
    assert len(set(ids[~is_oov])) == 5 and len(set(ids[is_oov])) == 6
    seen = set(splits.spec.info.words)
    assert not seen & {*booking.CUISINES[False], *booking.PLACES[False]} and {*booking.PLACES[True]} <= seen


def test_tied_vectors_need_the_words_of_all_responses(splits):
    splits, folder = splits
    plain, tied = splits.spec.info, data.datasets(settings(folder, tied=True)).spec.info
    assert tied.trained_words == plain.trained_words == len(plain.words)
    assert tied.words[:len(plain.words)] == plain.words and len(set(tied.words)) == len(tied.words)
    assert {*booking.CUISINES[False], *booking.PLACES[False]} <= set(tied.words)
    known = [Encoder(info, typed=True).are_known(tf.constant(info.candidates)).numpy() for info in (plain, tied)]
    np.testing.assert_array_equal(*known)
    assert 0 < known[0].sum() < len(known[0])


def test_the_order_depends_on_seed_and_epoch_alone(splits):
    splits, _ = splits
    context = tf.distribute.InputContext()
    one, again, other = ([t["response"].numpy().tolist() for _, t in splits.train(epoch, 0, context)] for epoch in (0, 0, 1))
    assert one == again != other
    assert [t["response"].numpy().tolist() for _, t in splits.train(0, 3, context)] == one[3:]


def test_a_set_without_dialogues_is_refused(splits):
    _, folder = splits
    with pytest.raises(UserError, match="contains no dialogues"):
        data.datasets(settings(folder, dataset="restaurant_booking/kb"))
