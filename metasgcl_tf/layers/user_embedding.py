"""A vector for each user of the training log, and a defined one for everybody else."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf import backend
from metasgcl_tf.errors import require
from metasgcl_tf.layers.initializers import small_normal

Tensor = Any


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class UserEmbedding(keras.layers.Layer):
    """Looks up users by their row in the training log; who is not in it has the mean of all vectors.

    Args:
        num_users: U, users of the training log; 0 before it is known.
        hidden_dim: D.
    """

    def __init__(self, num_users: int, hidden_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require(num_users >= 0, "num_users", "0 or more", num_users)
        self.hidden_dim = hidden_dim
        self._create_table(num_users)
        self.built = True

    def _create_table(self, num_users: int) -> None:
        """`[U + 1, D]`; row 0 is nobody's, as that of the items is."""
        self.num_users = num_users
        shape, start = (num_users + 1, self.hidden_dim), small_normal()
        # Not cast to half precision, in which a mean over all users would be coarse.
        self.table = self.add_weight(name="user_table", shape=shape, initializer=start, autocast=False)

    def resize(self, num_users: int) -> None:
        """Starts anew with a table for that many users."""
        del self.table  # Keras forgets a weight that is deleted, but takes no other unless unlocked
        self._tracker.unlock()
        self._create_table(num_users)
        self._tracker.lock()

    def check_known(self) -> None:
        """Raises an `InputError` where training would teach one vector for all, which nobody is scored by."""
        rule = "known before training: call `adapt` with the split, before `compile`"
        require(self.num_users > 0, "num_users", rule, self.num_users)

    def call(self, user_index: Tensor | None = None, training: bool = False) -> Tensor:
        """Vectors of users, float32.

        Args:
            user_index: `[B]` int rows of the training log; outside 0..U-1 is an unknown user. None if
                nobody is known.
            training: every user is known; spares the mean.

        Returns:
            `[B, D]`, or the mean alone, `[D]`, if there is no `user_index`; the mean of no users is 0.
        """
        if user_index is None:
            return self._mean()
        known = ops.logical_and(user_index >= 0, user_index < self.num_users)
        rows = backend.take_rows(self.table, ops.where(known, user_index + 1, 0))
        return rows if training else ops.where(known[:, None], rows, self._mean())

    def _mean(self) -> Tensor:
        return ops.sum(ops.convert_to_tensor(self.table)[1:], axis=0) / max(1, self.num_users)
