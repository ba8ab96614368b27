"""A network that classifies one pixel from the patch around it, and the same network for all pixels in one pass (S1)."""
import keras
import tensorflow as tf
from keras import ops

import layers
from apps.segmentation import segmenter
from training.engine import step
from training.errors import UserError
from training.vision import pixel_losses

PATCHES = 2048
"""patches that are classified at a time, which limits the memory"""


def patch_side(stages):
    """Returns the side of the patches, in pixels, of which the convolutions leave one place: 10, 24, 52 for 1, 2, 3 stages."""
    side = 3
    for _ in range(stages):
        side = 2 * side + 4
    return side


def network(images, *, width=16, stages=2, units=64, one_pass=False):
    """Returns features (batch, rows, columns, `units`): one for each patch, whose side is `patch_side(stages)`.

        stage: two 3x3 convolutions without padding, then maximum pooling by 2;   `stages` times
        head:  a 3x3 convolution without padding

    With `one_pass`, there is a feature for every place at which a patch fits into the image. The poolings then keep all places,
    and all that follows reads every second place, then every fourth, and so on: windows and kernels have holes. Both forms have
    the same weights, and the same features for a patch, because they compute the same sums.

    images:   Keras tensor of scaled images, (batch, height, width, 3)
    width:    channels of all stages
    stages:   number of poolings
    units:    channels of the features
    one_pass: whether there is a feature for every place

    Example:
        >>> import keras
        >>> from apps.segmentation import pixel_classifier
        >>> pixel_classifier.network(keras.Input((24, 24, 3))).shape
        (None, 1, 1, 64)
        >>> pixel_classifier.network(keras.Input((33, 28, 3)), one_pass=True).shape
        (None, 10, 5, 64)

    Source: Ciresan et al., 2012, "Deep Neural Networks Segment Neuronal Membranes in Electron Microscopy Images", patches;
    Giusti et al., 2013, "Fast Image Scanning with Deep Max-Pooling Convolutional Neural Networks", all pixels at once, and Li
    et al., 2014, "Highly Efficient Forward and Backward Propagation of Convolutional Neural Networks for Pixelwise
    Classification", with holes.
    What differs: batch normalization.
    """
    rate, x = 1, images
    for stage in range(1, stages + 1):
        for number in (1, 2):
            x = _convolution(x, width, rate, f"stage{stage}_convolution{number}")
        pool = layers.MaxPoolingWithHoles(2, rate, name=f"stage{stage}_pool") if one_pass else (
            keras.layers.MaxPooling2D(2, name=f"stage{stage}_pool"))
        x, rate = pool(x), 2 * rate if one_pass else 1
    return _convolution(x, units, rate, "head_convolution")


class PixelClassifier(keras.Model):
    """Classifies every pixel of an image by the patch around it; beyond the image there is black.

    image_size:    side of the square images, in pixels
    classes:       number of classes
    width, stages, units: see `network`
    one_pass:      whether all pixels are classified at once, instead of patch by patch
    every:         pixels between those that are classified patch by patch, in both directions; the others get the scores of the
                   nearest one above and to the left. 1: all are classified
    patches:       patches drawn from each image in training, if not in one pass
    class_weights: weight of each class in the loss; None: 1
    draw_weights:  relative number of patches drawn from a pixel of each class, which the loss makes up for; None: equal
    prior:         class scores that the network begins with; None: zeros
    dice_share:    weight of the Dice loss
    seed:          seed of the drawn patches

    Example:
        >>> import numpy as np
        >>> from apps.segmentation.pixel_classifier import PixelClassifier
        >>> model = PixelClassifier(32, 5, width=4, one_pass=True)
        >>> model({"image": np.zeros((2, 32, 32, 3), "uint8")})["classes"].shape
        TensorShape([2, 32, 32, 5])
    """

    def __init__(self, image_size, classes, *, width=16, stages=2, units=64, one_pass=False, every=1, patches=64,
                 class_weights=None, draw_weights=None, prior=None, dice_share=0.0, seed=0):
        super().__init__(name="convolutional" if one_pass else "patches")
        self.image_size, self.classes, self.one_pass, self.every, self.patches = image_size, classes, one_pass, every, patches
        self.side = patch_side(stages)
        self.draw_weights = draw_weights or [1.0] * classes
        class_weights = class_weights or [1.0] * classes
        if not one_pass:
            class_weights = [weight / drawn for weight, drawn in zip(class_weights, self.draw_weights)]
        side = None if one_pass else self.side
        images = keras.Input((side, side, 3), name="image")
        x = network(images, width=width, stages=stages, units=units, one_pass=one_pass)
        logits = segmenter.class_scores(classes, prior)(x)
        self.network = keras.Model(images, [logits, x], name="network")
        self.random = keras.random.SeedGenerator(seed)
        self.pixel_loss = pixel_losses.PixelLoss(class_weights, dice_share)
        self.mean_loss = keras.metrics.Mean("loss")
        self.built = True

    @property
    def metrics(self):
        return [self.mean_loss]

    def train_step(self, data):
        inputs, targets = data
        images, classes = self.padded(inputs["image"]), targets["classes"]
        if not self.one_pass:
            images, classes = self._drawn(images, classes)

        def loss_of():
            return self.pixel_loss(classes, self.network(images, training=True)[0])

        share = step.gradient_step(self.optimizer, self.trainable_variables, loss_of, is_share=True)
        self.mean_loss.update_state(share * tf.distribute.get_strategy().num_replicas_in_sync)
        return {"loss": self.mean_loss.result()}

    def call(self, inputs, training=False):
        return {"classes": self._scores_and_features(inputs["image"])[0]}

    def embed(self, images):
        """Returns the features of the pixels, averaged over each image: (batch, units) float32."""
        return tf.reduce_mean(tf.cast(self._scores_and_features(images)[1], tf.float32), (1, 2))

    def padded(self, images):
        """Returns scaled images with so much black around that there is a patch around every pixel.

        The pixel (i, j) of an image is in the patch whose first corner is (i, j) in the result, behind half of its side.
        """
        before, after = self.side // 2, self.side - 1 - self.side // 2
        padded = ops.pad(ops.cast(images, "float32"), [(0, 0), (before, after), (before, after), (0, 0)])
        return padded / 64 - 2

    def _scores_and_features(self, images):
        padded = self.padded(images)
        if self.one_pass:
            return self.network(padded, training=False)
        count, rows = tf.shape(images)[0], -(-self.image_size // self.every)
        places = tf.range(count * rows * rows)
        places = tf.pad(places, [[0, -tf.size(places) % PATCHES]])  # the patches that are too many are the first one

        def classified(places):
            first = places % (rows * rows)
            patches = self._patches(padded, places // (rows * rows), first // rows * self.every, first % rows * self.every)
            return tuple(part[:, 0, 0] for part in self.network(patches, training=False))

        types = tuple(tf.TensorSpec((PATCHES, part.shape[-1]), part.dtype) for part in self.network.outputs)
        found = tf.map_fn(classified, tf.reshape(places, [-1, PATCHES]), fn_output_signature=types)
        return [self._spread(part, count, rows) for part in found]

    def _spread(self, values, count, rows):
        """Returns values (any, PATCHES, channels) of the classified pixels as maps of the image's size."""
        channels = values.shape[-1]
        maps = tf.reshape(tf.reshape(values, [-1, channels])[:count * rows * rows], [-1, rows, rows, channels])
        maps = tf.repeat(tf.repeat(maps, self.every, axis=1), self.every, axis=2)
        return tf.ensure_shape(maps[:, :self.image_size, :self.image_size], [None, self.image_size, self.image_size, channels])

    def _drawn(self, padded, classes):
        """Returns random patches and the classes of their pixels, (n, side, side, 3) and (n, 1, 1).

        Pixels are drawn without replacement, with probabilities proportional to the weights w of their classes: the largest
        of log w + Gumbel noise. Pixels without a label are drawn last.
        """
        batch, rows, columns = classes.shape
        flat = ops.reshape(classes, (batch, rows * columns))
        weights = ops.take(ops.log(ops.convert_to_tensor(self.draw_weights, "float32")), ops.maximum(flat, 0))
        uniform = keras.random.uniform((batch, rows * columns), 1e-6, 1 - 1e-6, seed=self.random)
        order = ops.where(flat == pixel_losses.VOID, -1e9, weights - ops.log(-ops.log(uniform)))
        _, place = ops.top_k(order, min(self.patches, rows * columns), sorted=False)
        image = ops.repeat(ops.arange(batch), place.shape[1])
        chosen = ops.reshape(ops.take_along_axis(flat, place, axis=1), (-1, 1, 1))
        place = ops.reshape(place, (-1,))
        return self._patches(padded, image, place // columns, place % columns), chosen

    def _patches(self, padded, image, row, column):
        """Returns patches (n, side, side, 3) of padded images by number, first row and first column, each (n,)."""
        _, height, width, channels = padded.shape
        inside = tf.range(self.side)
        rows = (image * height + row)[:, None] + inside
        places = rows[:, :, None] * width + column[:, None, None] + inside
        return tf.ensure_shape(tf.gather(tf.reshape(padded, [-1, channels]), places), [None, self.side, self.side, channels])


def compiled(config, spec, steps, **arguments):
    """Returns a compiled PixelClassifier for the data of a Spec and a training of `steps` steps.

    arguments: those of `PixelClassifier` that its two forms do not share

    Raises:
        UserError: the training images have another size than those that are evaluated.
    """
    if config.crop_size not in (None, config.image_size):
        raise UserError(f"--crop-size has no effect for {config.model}, which needs squares of --image-size: leave it out")
    info = spec.info
    model = PixelClassifier(
        config.image_size, len(info.class_names), width=config.width, stages=config.stages, units=config.units,
        dice_share=config.dice_share, seed=config.seed, prior=segmenter.prior(config, info),
        class_weights=segmenter.class_weights(info.pixel_shares, config.class_balance), **arguments)
    model.compile(segmenter.optimizer(config, steps))
    return model


def _convolution(x, filters, rate, name):
    x = keras.layers.Conv2D(filters, 3, dilation_rate=rate, use_bias=False, kernel_initializer="he_normal", name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_normalization")(x)
    return keras.layers.ReLU(name=f"{name}_activation")(x)
