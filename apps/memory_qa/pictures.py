"""Pictures: errors by task, attention of each hop, and vectors of words and memories."""
from typing import NamedTuple

import keras
import matplotlib.figure
import numpy as np

from apps.memory_qa import evaluation
from training.app import Rendered
from training.engine import figures
from training.engine.names import markdown

_SHOWN = 8
"""questions that are shown, each of another task"""
_MOST_POINTS = 2000
"""words and memories in the projector"""


class Example(NamedTuple):
    """A question of the test split and its answer."""

    sentences: list[str]
    question: str
    answer: str
    truth: str
    """the answer itself if it is correct, otherwise all correct answers"""
    attention: np.ndarray
    """(hops, sentences)"""


def render(model, splits, config, info, metrics):
    """Returns the Rendered test errors by task, the attention to the sentences of some test stories, if the system has a
    memory, as pictures and as tables, and the embeddings."""
    shown = examples(model, splits, info)
    maps = [_heat_map(example) for example in shown if example.attention.size]
    pictures = {"errors": _errors(metrics["per_task"])[None]}
    return Rendered(
        pictures | ({"attention": np.stack(maps)} if maps else {}), activations(model, splits),
        {"attention": "\n\n".join(map(_as_table, shown))}, embeddings(model, splits, info))


def examples(model, splits, info):
    """Returns one Example of each task, for the first tasks of the test split."""
    tasks = {}
    for inputs, targets in splits.test:
        for row, task in enumerate(targets["task"].numpy()):
            tasks.setdefault(int(task), ({name: value[row:row + 1] for name, value in inputs.items()},
                                         evaluation.right_answers(targets)[row].numpy()))
        if len(tasks) >= min(_SHOWN, len(info.tasks)):
            break
    member = int(model.chosen_index())
    found = []
    for task in sorted(tasks)[:_SHOWN]:
        inputs, truth = tasks[task]
        logits, attention = (keras.ops.convert_to_numpy(x) for x in model(inputs))
        story = [row for row in inputs["story"].numpy()[0] if row.any()]
        answer = info.words[int(np.argmax(logits[0, member]))]
        right = [info.words[word] for word in truth if word]
        found.append(Example(
            [_text(row, info) for row in story], _text(inputs["question"].numpy()[0], info) + "?", answer,
            answer if answer in right else " or ".join(right), attention[0, :, member, :len(story)]))
    return found


def activations(model, splits):
    """Returns logits and attention of the first test batch, for histograms."""
    inputs, _ = next(iter(splits.test))
    logits, attention = (keras.ops.convert_to_numpy(x) for x in model(inputs))
    return {"logits": logits, **{f"attention_hop{hop + 1}": attention[:, hop] for hop in range(attention.shape[1])}}


def embeddings(model, splits, info):
    """Returns the vectors of the words and, if the model provides them, of the memories of the first test stories."""
    words = info.words[2:_MOST_POINTS]  # without padding and unknown
    vectors = keras.ops.convert_to_numpy(model.word_vectors())[2:2 + len(words)]
    made = {"words": (vectors, [{"word": word} for word in words], None)}
    inputs, _ = next(iter(splits.test))
    memory = model.memory_vectors(inputs["story"])
    if memory is None:
        return made
    mask = np.any(inputs["story"].numpy() != 0, axis=-1)
    rows = [{"sentence": _text(inputs["story"].numpy()[row, place], info), "ago": int(mask[row].sum() - place)}
            for row, place in zip(*np.nonzero(mask))][:_MOST_POINTS]
    if rows:
        made["memories"] = (keras.ops.convert_to_numpy(memory)[mask][:_MOST_POINTS], rows, None)
    return made


def _as_table(example):
    """Returns an Example as Markdown: a row for each sentence, a column for each hop."""
    hops = len(example.attention)
    header = "| " + " | ".join([f"hop {hop + 1}" for hop in range(hops)] + ["sentence"]) + " |"
    rows = ["| " + " | ".join([f"{p:.2f}" for p in weights] + [markdown(sentence)]) + " |"
            for weights, sentence in zip(example.attention.T, example.sentences)]
    verdict = "correct" if example.answer == example.truth else f"wrong, the answer is **{markdown(example.truth)}**"
    return "\n".join([f"**{markdown(example.question)}**: {markdown(example.answer)} ({verdict})", "", header,
                      "|" + "---|" * (hops + 1), *rows])


def _text(ids, info):
    return " ".join(info.words[word] for word in ids if word)


def _errors(per_task):
    """Returns a picture of the share of wrong answers by task, {task: share}."""
    figure = matplotlib.figure.Figure((7, 1 + 0.3 * len(per_task)))
    axes = figure.add_subplot()
    axes.barh(range(len(per_task)), [100 * error for error in per_task.values()])
    axes.set_yticks(range(len(per_task)), per_task)
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="error in %")
    axes.grid(axis="x", alpha=0.3)
    return figures.rendered(figure)


def _heat_map(example, most=24):
    """Returns uint8 (height, width, 3), of one size for all examples: the last `most` sentences by hops."""
    sentences, attention = example.sentences[-most:], example.attention[:, -most:]
    is_right = example.answer == example.truth
    figure = matplotlib.figure.Figure(figsize=(8, 6), dpi=80, layout="constrained")
    axes = figure.subplots()
    axes.imshow(attention.T, cmap="Blues", vmin=0, vmax=max(1.0, float(attention.max(initial=0))), aspect="auto")
    for (hop, place), weight in np.ndenumerate(attention):
        if weight >= 0.05:
            axes.text(hop, place, f"{weight:.2f}", ha="center", va="center", fontsize=8,
                      color="white" if weight > 0.5 else "black")
    axes.set_xticks(range(len(attention)), [f"hop {hop + 1}" for hop in range(len(attention))])
    axes.set_yticks(range(len(sentences)), [sentence[:60] for sentence in sentences], fontsize=8)
    axes.set_title(f"{example.question} {example.answer}" + ("" if is_right else f" (it is {example.truth})"),
                   fontsize=10, color="black" if is_right else "firebrick")
    return figures.rendered(figure, dpi=figure.dpi, is_tight=False)
