"""Serving of questions about stories."""
import tensorflow as tf

from training.serving import export
from training.text.vocabulary import Vocabulary, tokens

_MOST_WORDS = 64
"""words of a sentence or question that an answer has room for"""


def explain(model, config, info):
    """Returns the function of the signature `explain`, see `serving.signatures`.

    The sentences of a story are on separate lines, or each ends in . ! or ?; only the latest ones that fit into the memory are
    read.
    """
    vocabulary = Vocabulary(info.words)
    model.vocabulary_table = vocabulary.table  # as a part of the model it comes into the export
    memories = min(config.memory_size, model.places or config.memory_size)
    words = tf.constant(info.words)

    def answer(story, question):
        sentences = _sentences(story)[:, -memories:]
        question_words, sentence_words = tokens(question), sentences.with_flat_values(tokens(sentences.flat_values))
        story_ids = vocabulary.ids(sentence_words).to_tensor(shape=[None, memories, _MOST_WORDS])
        question_ids = vocabulary.ids(question_words).to_tensor(shape=[None, _MOST_WORDS])
        logits, attention = model({"story": story_ids, "question": question_ids}, training=False)
        member = model.chosen_index()
        scores = tf.nn.softmax(tf.cast(logits, tf.float32)[:, member, 2:])  # padding and unknown are no answers
        best = tf.argmax(scores, axis=-1)
        longest = tf.maximum(_longest(sentence_words), question_words.row_lengths())
        error = tf.where(question_words.row_lengths() == 0, "the question has no words", tf.where(
            longest > _MOST_WORDS, f"a sentence has more than {_MOST_WORDS} words", ""))
        return {
            "answer": tf.where(error == "", tf.gather(words, best + 2), ""),
            "score": tf.where(error == "", tf.reduce_max(scores, axis=-1), 0.0),
            "unknown_words": vocabulary.missing(tf.concat([sentence_words.merge_dims(1, 2), question_words], axis=1)),
            "error": error,
            "sentences": export.any_size(sentences.to_tensor(shape=[None, memories])),
            "attention": export.any_size(attention[:, :, member]),
        }

    return answer


def _sentences(story):
    """Returns the sentences of each story, ragged (batch, sentences)."""
    lines = tf.strings.split(tf.strings.regex_replace(story, r"([.!?])\s+", "\\1\n"), "\n")
    lines = lines.with_flat_values(tf.strings.strip(lines.flat_values))
    return tf.ragged.boolean_mask(lines, tf.strings.regex_full_match(lines, r"(?s).*[\pL\pN].*"))


def _longest(sentence_words):
    """Returns the number of words of the longest sentence of each story, (batch,), 0 for a story without sentences."""
    lengths = sentence_words.with_values(tf.cast(sentence_words.values.row_lengths(), tf.int64))
    return tf.reduce_max(tf.concat([lengths, tf.zeros_like(lengths.row_lengths())[:, None]], axis=1), axis=1)
