"""One gradient step for models with their own `train_step`, correct in float16 and on any number of replicas."""
import keras
import tensorflow as tf
from keras import ops

from training.engine import strategies


def gradient_step(optimizer, variables, losses_of, *, is_share=False, change=None):
    """Applies one gradient step of a loss to `variables`, and returns the result of `losses_of`.

        def losses_of():
            logits = self(inputs, training=True)
            return ops.mean(cross_entropy(logits, targets)), logits

        loss, logits = step.gradient_step(self.optimizer, self.trainable_variables, losses_of)

    A model with several optimizers calls it once per optimizer. Call it in replica context, like a `train_step`; it works the
    same eagerly, in a `tf.function` and under XLA. Without variables there is no gradient, and the optimizer may be None.

    A loss may depend on a part of a variable only: `losses_of` may use one of several networks that share a variable, and the
    gradient of the others is 0.

    optimizer: Keras optimizer, also a LossScaleOptimizer; it unscales and clips the gradients, and sums them over the replicas
    variables: list of the Keras variables of the optimizer
    losses_of: function without arguments, called once under a tape. It returns a scalar loss, or a tuple of the loss and
               further results for the caller
    is_share:  whether the loss already is this replica's share of the loss of the global batch, as with
               `keras.Model.compute_loss` or a loss divided by a count over all replicas. Otherwise it is a mean over this
               replica's examples, and is divided by the number of replicas.
    change:    function that receives and returns a list of gradients, one per variable: dense tensors without the loss scale,
               or None. They belong to this replica's share; a norm of the global gradient needs `strategies.global_sum` first.
               If a gradient is not finite, the optimizer skips the step, whatever `change` returns.
    """
    if not variables:
        return losses_of()
    returned, gradients = scaled_gradients(optimizer, variables, losses_of, is_share=is_share)
    apply_scaled(optimizer, gradients, variables, change=change)
    return returned


def scaled_gradients(optimizer, sources, losses_of, *, is_share=False):
    """Returns the result of `losses_of` and the gradients of its loss times the loss scale of the optimizer.

    It is the first half of `gradient_step`, for a step that adds up several gradients, needs a gradient with respect to its
    inputs, chooses between graphs (`tf.switch_case`), or applies the gradient of one tensor to several variables. Operations
    on the gradients before `apply_scaled` must be linear: sums, means and copies are.

    optimizer, losses_of, is_share: as in `gradient_step`
    sources: list of Keras variables and tensors to differentiate by
    """
    sources = [source.value if isinstance(source, keras.Variable) else source for source in sources]
    with tf.GradientTape() as tape:
        tape.watch([source for source in sources if isinstance(source, tf.Tensor)])
        returned = losses_of()
        loss = returned[0] if isinstance(returned, tuple) else returned
        if loss.dtype != tf.float64:
            loss = ops.cast(loss, "float32")  # the scale is beyond float16's range
        if not is_share:
            loss = loss / tf.distribute.get_strategy().num_replicas_in_sync
        scaled = optimizer.scale_loss(loss)
    return returned, tape.gradient(scaled, sources)


def apply_scaled(optimizer, gradients, variables, *, change=None):
    """Applies gradients that are multiplied by the loss scale of the optimizer, which divides by it.

    It is the second half of `gradient_step`.

    optimizer, variables, change: as in `gradient_step`
    gradients:                    list with one gradient per variable, from `scaled_gradients`
    """
    is_dynamic = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if change is not None or (is_dynamic and tf.distribute.get_strategy().num_replicas_in_sync > 1):
        scale = optimizer.scale_loss(tf.ones(()))
        good = tf.ones(())
        if is_dynamic:  # it looks for what is not finite, and on the first replica only: all are to skip the step together
            good = _one_or_nan(gradients)
        if change is not None:
            gradients = change([_times(gradient, 1 / scale, dense=True) for gradient in gradients])
            good = good * scale
        gradients = [_times(gradient, good) for gradient in gradients]
    optimizer.apply(gradients, variables)


def _one_or_nan(gradients):
    """Returns 1 where the gradients of all replicas are finite, or else NaN."""
    values = [gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
              for gradient in gradients if gradient is not None]
    bad = [tf.logical_not(tf.reduce_all(tf.math.is_finite(value))) for value in values]
    count = strategies.global_sum(sum((tf.cast(is_bad, tf.float32) for is_bad in bad), tf.zeros(())))
    return tf.where(count > 0, float("nan"), 1.0)


def _times(gradient, factor, dense=False):
    """Returns a gradient times a scalar; None stays None."""
    if gradient is None:
        return None
    if isinstance(gradient, tf.IndexedSlices):
        if not dense:
            return tf.IndexedSlices(
                gradient.values * tf.cast(factor, gradient.dtype), gradient.indices, gradient.dense_shape)
        gradient = tf.convert_to_tensor(gradient)
    return gradient * tf.cast(factor, gradient.dtype)
