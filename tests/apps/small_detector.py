"""A detector without a network, for tests of serving: it finds the one place in each image that is the reddest."""
import types

import keras
import tensorflow as tf

from training.data.spec import Info

CONFIG = types.SimpleNamespace(image_size=32)
INFO = Info(class_names=["red", "größer", "blue"])


class RedSpot(keras.Model):
    """Detects a square of 8 pixels, learnt by nobody, around the reddest pixel, and a second box over the whole image.

    The score is the mean redness times a weight, the class follows from the place, so that rows of a batch differ.
    """

    def build(self, input_shape=None):
        self.gain = self.add_weight(name="gain", shape=(), initializer=keras.initializers.Constant(0.25))
        self.built = True

    def detect(self, images):
        size = images.shape[1]
        red = images[..., 0] - 0.5 * (images[..., 1] + images[..., 2])
        red = tf.where(tf.reduce_sum(images, -1) > 0, red, -1000.0)
        place = tf.argmax(tf.reshape(red, (-1, size * size)), 1, output_type=tf.int32)
        y, x = tf.cast(place // size, tf.float32), tf.cast(place % size, tf.float32)
        spot = tf.stack([y - 4, x - 4, y + 4, x + 4], -1)
        whole = tf.constant([[0.0, 0.0, size, size]]) * tf.ones_like(spot)
        boxes = tf.pad(tf.stack([spot, whole], 1), [[0, 0], [0, 98], [0, 0]], constant_values=7.0)
        mean = tf.reduce_mean(images, (1, 2, 3)) / 255.0
        scores = tf.pad(tf.stack([mean, mean * self.gain], 1), [[0, 0], [0, 98]], constant_values=0.01)
        class_ids = tf.pad(tf.stack([place % 3, place % 2], 1), [[0, 0], [0, 98]], constant_values=-1)
        # half precision out, as from a mixed policy
        return {"boxes_yxyx": boxes, "scores": tf.cast(scores, tf.bfloat16), "class_ids": class_ids,
                "count": tf.fill(tf.shape(place), 2)}

    def pyramid_features(self, images):
        fine = tf.nn.avg_pool2d(images, 4, 4, "VALID") * self.gain
        return [fine, tf.nn.avg_pool2d(fine, 2, 2, "VALID")]


def build():
    model = RedSpot()
    model.build()
    return model
