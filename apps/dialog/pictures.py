"""Pictures: attention of each hop, vectors of words and responses, and dialogues with responses."""
import keras
import numpy as np
from matplotlib.figure import Figure

from apps.dialog import evaluation
from apps.dialog.encoder import SPEAKER_WORDS
from training.app import Rendered
from training.engine import figures
from training.engine.names import markdown

_MOST_LINES = 28
_MOST_POINTS = 3000


def render(model, splits, config, info, metrics):
    """Returns the Rendered pictures, activations, texts and embeddings, see the functions of these names."""
    return Rendered(pictures(model, splits, info), activations(model, splits), texts(model, splits, info),
                    embeddings(model, info))


def pictures(model, splits, info, count=6):
    """Returns {name: uint8 (n, height, width, 3)} for `count` dialogues of the test split.

    attention: the latest lines of a dialogue with the attention of each hop
    scores:    for a system without a memory: the candidates with the highest scores
    """
    inputs, targets = _interesting(splits, count)
    logits, attention = (keras.ops.convert_to_numpy(part) for part in model.attend(inputs))
    if not attention.shape[1]:
        return {"scores": np.stack([_bars(np.asarray(model.scores(row[None]))[0], info, int(response))
                                    for row, response in zip(logits, targets["response"])])}
    lines = _lines(inputs, info)
    rendered = []
    for row, weights in enumerate(attention):
        first = max(0, len(lines[row]) - 1 - _MOST_LINES)
        rendered.append(_heat_map(lines[row][first:-1], lines[row][-1], weights[:, first:len(lines[row]) - 1],
                                  info.candidates[int(logits[row].argmax())],
                                  info.candidates[int(targets["response"][row])]))
    return {"attention": np.stack(rendered)}


def activations(model, splits):
    """Returns {name: values} for the first test batch: the logits, and the attention of each hop."""
    inputs, _ = next(iter(splits.test))
    logits, attention = (keras.ops.convert_to_numpy(part) for part in model.attend(inputs))
    is_line = np.asarray(inputs["history"]).any(axis=-1)
    return {"logits": logits} | {f"attention_{hop + 1}": attention[:, hop][is_line] for hop in range(attention.shape[1])}


def texts(model, splits, info, count=3):
    """Returns {"dialogues": Markdown}: test dialogues, with the selected response and the line with the highest attention in
    the last hop."""
    rows = ["| line | chosen | correct | read most |", "|---|---|---|---|"]
    dialogs = 0
    for inputs, targets in splits.test:
        logits, attention = (keras.ops.convert_to_numpy(part) for part in model.attend(inputs))
        for row, lines in enumerate(_lines(inputs, info)):
            if len(lines) == 1:
                dialogs += 1
            if dialogs > count:
                break
            chosen, correct = (info.candidates[int(place)] for place in (logits[row].argmax(), targets["response"][row]))
            most = ""
            if attention.shape[1] and len(lines) > 1:
                weights = attention[row, -1, :len(lines) - 1]
                most = f"{weights.max():.0%} {lines[int(weights.argmax())]}"
            rows.append("| " + " | ".join(markdown(part) for part in (
                lines[-1], chosen, "yes" if chosen == correct else f"no: {correct}", most)) + " |")
        if dialogs > count:
            break
    return {"dialogues": "\n".join(rows)}


def embeddings(model, info):
    """Returns {"words", "responses": (vectors, metadata, None)} for the projector; {} for a system without vectors."""
    words, responses = model.word_vectors(), model.response_vectors()
    if words is None or responses is None:
        return {}
    words = keras.ops.convert_to_numpy(words)[2:][:_MOST_POINTS]
    entities = {fact.split(" ")[2].lower(): fact.split(" ")[1] for fact in info.knowledge}
    known = np.flatnonzero(model.choosable)[:_MOST_POINTS]
    responses = keras.ops.convert_to_numpy(responses)[known]
    kinds = evaluation.kinds_of(info)
    return {
        "words": (words, [{"word": word, "kind": "special" if word.startswith("#") else entities.get(word, "word")}
                          for word in info.words[2:][:_MOST_POINTS]], None),
        "responses": (responses, [{"response": info.candidates[place], "kind": evaluation.KINDS[kinds[place]]}
                                  for place in known], None),
    }


def _interesting(splits, count):
    """Returns test examples of the first batch, from the longest dialogue to the shortest."""
    inputs, targets = ({name: value.numpy() for name, value in part.items()} for part in next(iter(splits.test)))
    lengths = inputs["history"].any(axis=-1).sum(axis=1)
    order = np.argsort(-lengths, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)]
    return tuple({name: value[chosen] for name, value in part.items()} for part in (inputs, targets))


def _lines(inputs, info):
    """Returns for each example its lines in the words that the model knows; the last one is the user's last utterance."""
    words = np.array(info.words, object)

    def text(ids):
        found = [word for word in words[ids[ids > 0]].tolist() if not word.startswith("##")]
        return " ".join([f"{found[0][1:]}:", *found[1:]] if found and found[0] in SPEAKER_WORDS else found)

    return [[*(text(line) for line in history if line.any()), f"user: {text(query)}"]
            for history, query in zip(np.asarray(inputs["history"]), np.asarray(inputs["query"]))]


def _heat_map(lines, query, weights, chosen, correct):
    """Returns one picture with a row for each line and a column for each hop; a cell is brighter the more the line is read."""
    figure = Figure(figsize=(9, 0.22 * _MOST_LINES + 1.4), dpi=80)
    axes = figure.add_axes((0.68, 0.06, 0.28, 0.78))
    figure.text(0.02, 0.985, _short(query, 110), va="top", fontsize=9, weight="bold")
    figure.text(0.02, 0.95, _short(f"chosen: {chosen}", 110), va="top", fontsize=9,
                color="tab:green" if chosen == correct else "tab:red")
    figure.text(0.02, 0.915, _short(f"correct: {correct}", 110), va="top", fontsize=9)
    grid = np.zeros((_MOST_LINES, len(weights)))
    if lines:
        grid[-len(lines):] = weights.T
    axes.imshow(grid, aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    axes.set_xticks(range(len(weights)), [f"hop {hop + 1}" for hop in range(len(weights))], fontsize=8)
    axes.set_yticks(range(_MOST_LINES), [""] * (_MOST_LINES - len(lines)) + [_short(line, 62) for line in lines], fontsize=8)
    for place, hop in zip(*np.nonzero(grid >= 0.05)):
        axes.text(hop, place, f"{grid[place, hop]:.0%}", ha="center", va="center", fontsize=7,
                  color="black" if grid[place, hop] > 0.6 else "white")
    return figures.rendered(figure, dpi=figure.dpi, is_tight=False)


def _bars(scores, info, correct, most=8):
    """Returns one picture: the candidates with the highest scores, the correct one in green."""
    best = np.argsort(-scores, kind="stable")[:most]
    figure = Figure(figsize=(9, 3), dpi=80)
    axes = figure.add_axes((0.55, 0.1, 0.42, 0.85))
    axes.barh(range(len(best)), scores[best], color=["tab:green" if place == correct else "tab:gray" for place in best])
    axes.set_yticks(range(len(best)), [_short(info.candidates[place], 60) for place in best], fontsize=8)
    axes.invert_yaxis()
    return figures.rendered(figure, dpi=figure.dpi, is_tight=False)


def _short(text, most):
    return text if len(text) <= most else text[:most - 1] + "…"
