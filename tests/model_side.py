"""What the tests of several models check alike."""

import numpy as np
import tensorflow as tf


def check_gradients_from_the_newest_states(built, item_ids):
    """Targets at the newest position give the same gradients whatever other states are computed.

    Args:
        built: a model of at least 7 items without chance in it.
        item_ids: `[4, L]`.
    """
    y, weights = np.array([[5], [7], [0], [2]], np.int32), np.array([[1.0], [0.5], [9.0], [2.0]], np.float32)
    results = []
    for outputs_of in (built.training_outputs, lambda inputs, y: built(inputs, training=True)):
        with tf.GradientTape() as tape:
            outputs = outputs_of({"item_ids": item_ids}, y)
            loss = built.compute_loss({"item_ids": item_ids}, y, outputs, weights)
        variables = [v.value for v in built.trainable_variables]
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        results.append((outputs["states"].shape[1], loss, gradients))
    (one, short_loss, short), (every, whole_loss, whole) = results
    assert (one, every) == (1, item_ids.shape[1])
    np.testing.assert_allclose(short_loss, whole_loss, rtol=1e-5)
    for found, expected, v in zip(short, whole, built.trainable_variables, strict=True):
        found, expected = tf.convert_to_tensor(found), tf.convert_to_tensor(expected)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5, err_msg=v.path)
