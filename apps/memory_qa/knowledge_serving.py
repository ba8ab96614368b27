"""Serving of questions about a knowledge base."""
import tensorflow as tf

from apps.memory_qa import knowledge
from apps.memory_qa.knowledge_reader import MOST_QUESTION_WORDS, without_topic
from training.serving import export
from training.text.vocabulary import tokens


def explain(model, config, info):
    """Returns the function of the signature `explain`, see `serving.signatures`; the facts become part of the export.

    `sentences` are the retrieved facts as text, and `story` is ignored. The answer is the most probable entity among them, and
    `error` is set if the question names no known entity.
    """
    reader = knowledge.reader_of(config, info.words, knowledge.facts(config))
    model.reader = reader  # as a part of the model it comes into the export

    def answer(story, question):
        read = reader(question)
        logits, attention = model({name: read[name] for name in ("story", "question")}, training=False)
        member = model.chosen_index()
        places = tf.range(config.memory_size + 1)
        is_read = tf.reduce_any(read["story"][:, :, -1:] == reader.first_marker + places, axis=1)
        logits = tf.where(is_read, tf.cast(logits[:, member, reader.first_marker:], tf.float32), -1e9)
        best = tf.argmax(logits, axis=1, output_type=tf.int32)
        words = tokens(without_topic(question))
        error = tf.where(words.row_lengths() == 0, "the question has no words", tf.where(
            words.row_lengths() > MOST_QUESTION_WORDS, f"the question has more than {MOST_QUESTION_WORDS} words", tf.where(
                read["entities"][:, 0] == 0,
                "the question names no entity of the knowledge base: write the name as in the knowledge base, in [brackets]",
                tf.where(tf.reduce_any(is_read, axis=1), "", "too many facts contain the entity in the question"))))
        found = tf.gather(reader.names, tf.gather(read["entities"], best, batch_dims=1))
        return {
            "answer": tf.where(error == "", found, ""),
            "score": tf.where(error == "", tf.reduce_max(tf.nn.softmax(logits), axis=1), 0.0),
            "unknown_words": reader.vocabulary.missing(words),
            "error": error,
            "sentences": export.any_size(reader.sentences(read)),
            "attention": export.any_size(attention[:, :, member]),
        }

    return answer
