"""Common functions of all image classifiers, whichever application trained them.

Their inputs are {"image": uint8 (batch, side, side, channels)}, their outputs {"label": logits (batch, classes)}, and the
logits are an affine function of the output of a layer called "features".
"""
import itertools

import keras
import numpy as np
import tensorflow as tf

from training.engine import graphs
from training.serving import export
from training.vision import classification_metrics, classification_pictures, image_signatures

_MOST_POINTS = 1000
"""images whose features are shown, at most"""


def answers(model, batches, head="label"):
    """Returns the logits (images, classes) float32 and the labels (images,) of all batches; images with a negative label are
    skipped.

    head: key of both the model output and the target
    """
    step = graphs.of_model(model, "classifiers.answer", lambda model: tf.function(lambda inputs: model(inputs, training=False)))
    logits, labels = zip(*((step(inputs)[head], targets[head]) for inputs, targets in batches))
    logits, labels = np.concatenate([np.asarray(part, np.float32) for part in logits]), np.concatenate(labels)
    return logits[labels >= 0], labels[labels >= 0]


def features(model, images):
    """Returns the features of which the logits are an affine function, (batch, features) float32."""
    network = graphs.of_model(  # for every batch another one would be work
        model, "classifiers.features", lambda model: keras.Model(model.inputs, model.get_layer("features").output))
    return tf.cast(network({"image": images}, training=False), tf.float32)


def evaluate(model, batches, config, info, *, resamples=0):
    """Returns the metrics over a validation or test set, see `classification_metrics`; the loss is without label smoothing."""
    logits, labels = answers(model, itertools.islice(batches, config.limit_steps))
    return classification_metrics.summary(
        tf.nn.log_softmax(logits).numpy(), labels, info.class_names, resamples=resamples, seed=config.seed)


def pictures(model, batches, config, info):
    """Returns {name: uint8 (1, height, width, 3)} over test batches.

    wrong:     misclassified images, most confident first, with predicted and true class
    confusion: confusion matrix of true and predicted classes
    """
    batches = list(itertools.islice(batches, config.limit_steps))
    logits, labels = answers(model, batches)
    images = np.concatenate([inputs["image"][targets["label"] >= 0] for inputs, targets in batches])
    return {"wrong": classification_pictures.wrong(images, tf.nn.softmax(logits).numpy(), labels, info.class_names)[None],
            "confusion": classification_pictures.confusion(logits, labels, info.class_names)[None]}


def embeddings(model, batches, config, info):
    """Returns the features of test images with classes and thumbnails, for the projector."""
    vectors, rows, thumbnails = [], [], []
    for inputs, targets in batches:
        kept = targets["label"] >= 0
        images, labels = inputs["image"][kept], targets["label"][kept].numpy()
        vectors.append(features(model, images).numpy())
        rows += [{"class": info.class_names[label], "number": len(rows) + place} for place, label in enumerate(labels)]
        thumbnails.append(classification_pictures.rgb(tf.image.resize(images, (32, 32)).numpy()))
        if len(rows) >= _MOST_POINTS or config.limit_steps:
            break
    return {"features": (np.concatenate(vectors)[:_MOST_POINTS], rows[:_MOST_POINTS], np.concatenate(thumbnails)[:_MOST_POINTS])}


def signatures(model, class_names):
    """Returns {name: (function, {input name: TensorSpec})} for `training.serving.export.export`.

    serving_default: image_bytes (batch,) string
        -> class_names (batch, best) string, class_ids (batch, best) int32, scores (batch, best) float32: the most probable
           classes, best first, five of them or all if there are fewer
           probabilities (batch, classes) float32
           error (batch,) string: empty, or the reason why there is no prediction for this image; the other outputs are then
           "", -1 and 0
    embed: image_bytes (batch,) string -> features (batch, any) float32, error (batch,) string
    """
    _, side, _, channels = model.inputs[0].shape

    def serving_default(image_bytes):
        images, failed, errors = image_signatures.pixels(image_bytes, side, channels)
        answer = image_signatures.at_least_one(
            lambda batch: {"probabilities": tf.nn.softmax(model({"image": batch}, training=False)["label"])}, images)
        return image_signatures.classes(answer["probabilities"], failed, errors, class_names)

    def embed(image_bytes):
        images, failed, errors = image_signatures.pixels(image_bytes, side, channels)
        vectors = image_signatures.at_least_one(lambda batch: {"features": features(model, batch)}, images)
        return {"features": export.any_size(tf.where(failed[:, None], 0.0, vectors["features"])), "error": errors}

    inputs = {"image_bytes": tf.TensorSpec((None,), tf.string)}
    return {"serving_default": (serving_default, inputs), "embed": (embed, inputs)}
