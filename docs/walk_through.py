# %% [markdown]
# # Train, predict, look at attention, continue, export
#
# This script trains a small memory network that answers questions about stories, and then does by hand what the
# command line does. Editors such as VS Code, PyCharm and Jupyter (with jupytext) show its parts as cells. The whole
# script takes less than a minute on two idle cores:
#
#     TF_CPP_MIN_LOG_LEVEL=3 python docs/walk_through.py

# %%
import dataclasses
import pathlib
import tempfile

import matplotlib.figure
import tensorflow as tf

import training
from training import run
from training.app import App
from training.serving import export

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="walk_through-"))
print(f"everything is written into {FOLDER}")

# %% [markdown]
# ## Train
#
# An application is an `App`. `app.config` returns the settings of its default system, complete and checked; each
# argument is a setting that `python -m apps.memory_qa --help` lists. `run.train` does what `python -m apps.memory_qa`
# does.

# %%
app = App("memory_qa")
config = app.config(tasks=(1,), memory_size=20, epochs=12, xla=False, name="first", runs=str(FOLDER / "runs"),
                    saved_models=str(FOLDER / "saved_models"))
results = run.train(app, config)
print(f"share of wrong answers on the test split: {results['metrics']['error']:.1%}")

# %% [markdown]
# ## Load the run
#
# `training.load` returns the trained model and its settings. `run.described` returns the rest of what the run's folder
# holds: its `spec` describes the tensors and contains the vocabulary.

# %%
first = FOLDER / "runs" / "memory_qa" / "first"
model, config = training.load(first)
info = run.described(first).spec.info
print(f"{model.count_params():,} parameters, {len(info.words)} words, such as {', '.join(info.words[2:8])}")

# %% [markdown]
# ## Predict
#
# The export takes raw text. Its signature `explain` also returns the sentences in the memory and the attention to each.

# %%
STORY = b"Anna went to the bakery. Hugo walked to the library. Anna ran to the museum."
answer = export.answer(results["export"], {"story": [STORY], "question": [b"Where is Anna?"]}, "explain")
print(f"{answer['answer'][0].decode()} ({answer['score'][0]:.2f})")

# %% [markdown]
# ## Look at attention
#
# `attention` has the shape (batch, hops, memories). A trained network attends to the latest sentence about Anna.

# %%
sentences = [sentence.decode() for sentence in answer["sentences"][0] if sentence]
attention = answer["attention"][0][:, :len(sentences)]
for hop, weights in enumerate(attention, start=1):
    print(f"hop {hop}: " + ", ".join(f"{weight:.2f} {sentence}" for weight, sentence in zip(weights, sentences)))

figure = matplotlib.figure.Figure((7, 2.5), layout="constrained")
axes = figure.subplots()
axes.imshow(attention.T, aspect="auto", vmin=0, vmax=1, cmap="Blues")
axes.set_yticks(range(len(sentences)), sentences)
axes.set_xticks(range(len(attention)), [f"hop {hop}" for hop in range(1, len(attention) + 1)])
figure.savefig(FOLDER / "attention.png")

# %% [markdown]
# ## Continue training
#
# A run that was interrupted continues with `--resume`. To train a finished one further, start a new run from its
# weights. A network that has learned already does not need the linear start.

# %%
further = run.train(app, dataclasses.replace(config, name="second", initialize="first", epochs=2, linear_start=False))
print(f"wrong answers: {results['metrics']['error']:.1%}, after further training {further['metrics']['error']:.1%}")

# %% [markdown]
# ## Export
#
# Both runs have exported their model already, as versions 1 and 2. This exports a model by hand and loads it as any
# program can that has TensorFlow, without the code of the suite.

# %%
model, config = training.load(FOLDER / "runs" / "memory_qa" / "second")
version = export.export(FOLDER / "by_hand" / "memory_qa", model, app.serving.signatures(model, config, info),
                        warmup=app.serving.warmup(config))
serve = tf.saved_model.load(str(version)).signatures["serving_default"]
served = serve(story=tf.constant([STORY]), question=tf.constant(["Where is Hugo?"]))
print(f"{version} answers: {served['answer'].numpy()[0].decode()}")
