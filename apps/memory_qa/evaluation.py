"""Error by task, and its mean over the tasks."""
import itertools

import numpy as np
import tensorflow as tf

from training import bootstrap
from training.engine import graphs
from training.engine.names import one_line

VALIDATION_METRICS = ("error", "loss")
"""metrics that are shown after each epoch"""
_MOST_WRONG = 0.05
"""share of wrong answers above which a task counts as failed, as in bAbI's paper"""


def evaluate(model, batches, config, info, *, resamples=0, validating=False):
    """Returns the metrics of the chosen network over a validation or test set.

    error:         fraction of wrong answers, averaged over the tasks; accuracy is 1 - error
    failed_tasks:  number of tasks with more than 5 % wrong answers
    loss:          mean cross-entropy in nats
    per_task:      {task: error}
    error_median:  median over the restarts, if there are several, and per_task_median
    intervals:     with `resamples` above 0 {"error": [low, high]}, the 95 % interval over this number of bootstrap samples

    A validation first passes the loss and error of each network to the model, which may then select another network.
    """
    losses, wrong, tasks = outcomes(model, itertools.islice(batches, config.limit_steps))
    by_task = np.stack([wrong[tasks == task].mean(axis=0) for task in np.unique(tasks)])  # (tasks, members)
    names = [info.tasks[task] for task in np.unique(tasks)]
    if validating:
        model.end_epoch(losses.mean(axis=0), by_task.mean(axis=0))
    member = int(model.chosen_index())
    metrics = _summary(by_task[:, member], names) | {"loss": float(losses[:, member].mean())}
    if by_task.shape[1] > 1:
        metrics["error_median"] = float(np.median(by_task.mean(axis=0)))
        metrics["per_task_median"] = dict(zip(names, np.median(by_task, axis=1).tolist()))
    if resamples:
        def statistics(rows):
            return {"error": np.mean([wrong[rows][tasks[rows] == task, member].mean() for task in np.unique(tasks[rows])])}

        metrics["intervals"] = bootstrap.intervals(statistics, len(tasks), resamples, config.seed)
    return metrics


def outcomes(model, batches):
    """Returns cross-entropy and error (0 or 1), each (questions, members), and the task of each question.

    If a question has several correct answers, any of them counts, and the cross-entropy is that of the first.
    """
    outcomes_of = graphs.of_model(model, "memory_qa.evaluation", _graph)
    losses, wrong, tasks = zip(*((*outcomes_of(inputs, targets), targets["task"]) for inputs, targets in batches))
    return tuple(np.concatenate([np.asarray(part) for part in parts]) for parts in (losses, wrong, tasks))


def right_answers(targets):
    """Returns all correct answers of each question, (batch, most answers), padded with 0."""
    return targets["answers"] if "answers" in targets else targets["answer"][:, None]


def table(metrics):
    """Prints the errors by task."""
    shown = {name: one_line(name) for name in metrics["per_task"]}
    width = max(map(len, shown.values()))
    medians = metrics.get("per_task_median", {})
    print(f"{'task':{width}}  wrong" + ("  median of restarts" if medians else ""))
    for name, error in metrics["per_task"].items():
        print(f"{shown[name]:{width}}  {error:5.1%}" + (f"  {medians[name]:5.1%}" if medians else ""))


def _graph(model):
    """Returns a traced function: inputs and targets -> what `outcomes` returns of them, without the tasks."""
    @tf.function
    def call(inputs, targets):
        logits, _ = model(inputs, training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            tf.broadcast_to(targets["answer"][:, None], tf.shape(logits)[:2]), logits)
        found = tf.argmax(logits, axis=-1, output_type=tf.int32)  # (batch, members)
        is_right = tf.reduce_any(found[..., None] == right_answers(targets)[:, None], axis=-1)
        return losses, 1 - tf.cast(is_right, tf.float32)

    return call


def _summary(errors, names):
    return {"error": float(errors.mean()), "accuracy": float(1 - errors.mean()),
            "failed_tasks": int((errors > _MOST_WRONG).sum()), "per_task": dict(zip(names, errors.tolist()))}
