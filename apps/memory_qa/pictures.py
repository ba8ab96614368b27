"""What a person looks at: which sentences were read at each hop, and where words and memories lie."""
import io

import keras
import matplotlib.figure
import numpy as np
from PIL import Image

from apps.memory_qa import evaluation

_SHOWN = 8
"""questions that are drawn"""
_MOST_POINTS = 2000


def pictures(model, splits, config, info):
    """Returns {"attention": uint8 (n, height, width, 3)}: sentences by hops, for test questions spread over the tasks."""
    drawn = [_heat_map(*example) for example in _read(model, splits, info) if example[4].size]
    return {"attention": np.stack(drawn)} if drawn else {}


def texts(model, splits, config, info):
    """Returns {"attention": Markdown}: the same as tables."""
    parts = []
    for sentences, question, answer, truth, attention in _read(model, splits, info):
        header = "| " + " | ".join([f"hop {hop + 1}" for hop in range(len(attention))] + ["sentence"]) + " |"
        rows = ["| " + " | ".join([f"{p:.2f}" for p in weights] + [sentence]) + " |"
                for weights, sentence in zip(attention.T, sentences)]
        verdict = "right" if answer == truth else f"wrong, it is **{truth}**"
        parts.append("\n".join([f"**{question}**: {answer} ({verdict})", "", header, "|" + "---|" * (len(attention) + 1), *rows]))
    return {"attention": "\n\n".join(parts)}


def activations(model, splits, config, info):
    """Returns attention and logits of the first test batch, for histograms."""
    inputs, _ = next(iter(splits.test))
    logits, attention = (keras.ops.convert_to_numpy(x) for x in model(inputs))
    return {"logits": logits, **{f"attention_hop{hop + 1}": attention[:, hop] for hop in range(attention.shape[1])}}


def embeddings(model, splits, config, info):
    """Returns the word vectors (first table) and, of MemN2N, the memories of the first test stories, for the projector."""
    member = int(keras.ops.convert_to_numpy(model.chosen)) if hasattr(model, "chosen") else 0
    words = info["words"][2:_MOST_POINTS]  # without padding and unknown
    vectors = keras.ops.convert_to_numpy(model.embed.table)[2:2 + len(words), member]
    made = {"words": (vectors, [{"word": word} for word in words], None)}
    if not hasattr(model, "chosen"):
        return made
    inputs, _ = next(iter(splits.test))
    mask = np.any(inputs["story"].numpy() != 0, axis=-1)
    memory = keras.ops.convert_to_numpy(model.generalization(inputs["story"])[0])[:, :-1, 0, member]
    rows = [{"sentence": _words(inputs["story"].numpy()[row, place], info), "ago": int(mask[row].sum() - place)}
            for row, place in zip(*np.nonzero(mask))][:_MOST_POINTS]
    if rows:
        made["memories"] = (memory[mask][:_MOST_POINTS], rows, None)
    return made


def _read(model, splits, info):
    """Returns (sentences, question, answer, truth, attention (hops, sentences)) of some test questions."""
    found = []
    tasks = {}
    for inputs, targets in splits.test:
        for row, task in enumerate(targets["task"].numpy()):
            tasks.setdefault(int(task), ({name: value[row:row + 1] for name, value in inputs.items()},
                                         evaluation.right_answers(targets)[row].numpy()))
        if len(tasks) >= min(_SHOWN, len(info["tasks"])):
            break
    for task in sorted(tasks)[:_SHOWN]:
        inputs, truth = tasks[task]
        logits, attention = model(inputs)
        member = int(keras.ops.convert_to_numpy(model.chosen)) if hasattr(model, "chosen") else 0
        story = [row for row in inputs["story"].numpy()[0] if row.any()]
        attention = keras.ops.convert_to_numpy(attention)[0, :, member, :len(story)]
        answer = info["words"][int(np.argmax(keras.ops.convert_to_numpy(logits)[0, member]))]
        right = [info["words"][word] for word in truth if word]
        found.append(([_words(row, info) for row in story], _words(inputs["question"].numpy()[0], info) + "?", answer,
                      answer if answer in right else " or ".join(right), attention))
    return found


def _words(ids, info):
    return " ".join(info["words"][word] for word in ids if word)


def _heat_map(sentences, question, answer, truth, attention, most=24):
    """Returns uint8 (height, width, 3), of one size for all stories: the last `most` sentences."""
    sentences, attention = sentences[-most:], attention[:, -most:]
    figure = matplotlib.figure.Figure(figsize=(8, 6), dpi=80, layout="constrained")
    axes = figure.subplots()
    axes.imshow(attention.T, cmap="Blues", vmin=0, vmax=max(1.0, float(attention.max(initial=0))), aspect="auto")
    for (hop, place), weight in np.ndenumerate(attention):
        if weight >= 0.05:
            axes.text(hop, place, f"{weight:.2f}", ha="center", va="center", fontsize=8,
                      color="white" if weight > 0.5 else "black")
    axes.set_xticks(range(len(attention)), [f"hop {hop + 1}" for hop in range(len(attention))])
    axes.set_yticks(range(len(sentences)), [sentence[:60] for sentence in sentences], fontsize=8)
    axes.set_title(f"{question} {answer}" + ("" if answer == truth else f" (it is {truth})"),
                   fontsize=10, color="black" if answer == truth else "firebrick")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))
