"""Two optimizers in one, for models with a two-step update."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from metasgcl_tf import backend

Variables = Sequence[keras.Variable]


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class RowWiseAdam(keras.optimizers.Adam):
    """Adam that updates only the rows of an embedding table that a batch touched.

    The moments of the other rows stay as they are ("lazy" Adam) until they are touched again, so that a step
    costs what the batch needs, not what the table holds. Variables with a dense gradient are updated as by
    Keras' Adam, in one fused operation each. On JAX, whose gradients are all dense, it is Keras' Adam. XLA
    (`jit_compile=True`) cannot compile the update of rows, whose number depends on the batch.

    Arguments as of `keras.optimizers.Adam`. A `weight_decay` shrinks matrices (tables and kernels, whole
    ones at every step), but neither biases nor the gains of layer norms.
    """

    def _use_weight_decay(self, variable: Any) -> bool:
        return len(variable.shape) > 1 and super()._use_weight_decay(variable)

    def _clip_gradients(self, grads: Sequence[Any]) -> Sequence[Any]:
        """Clips to `global_clipnorm` row by row: Keras would make whole tables of the rows."""
        if backend.NAME != "tensorflow" or not self.global_clipnorm or self.clipnorm:
            return super()._clip_gradients(grads)
        return backend.clipped(grads, self.global_clipnorm)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable."""
        if backend.NAME != "tensorflow" or self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        moments = self._momentums[index].value, self._velocities[index].value
        step = ops.cast(self.iterations + 1, variable.dtype)
        powers = [ops.power(ops.cast(beta, variable.dtype), step) for beta in (self.beta_1, self.beta_2)]
        rates = ops.cast(learning_rate, variable.dtype), self.beta_1, self.beta_2, self.epsilon
        backend.apply_adam(variable, *moments, gradient, *powers, *rates)


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class PairOptimizer(keras.optimizers.Optimizer):
    """A main optimizer and a meta optimizer, each with its own variables, saved and restored as one.

    A model keeps the state of its one `optimizer` through save, reload and continued training; holding
    both inside it gives the second the same guarantee. The learning rate and the step count that Keras'
    callbacks see are the main one's.

    Args:
        main: updates every variable but those below.
        meta: updates the variables of the layer named `meta_layer`.
        meta_layer: name of that layer.
        name: optional name.
    """

    def __init__(
        self,
        main: keras.optimizers.Optimizer,
        meta: keras.optimizers.Optimizer,
        meta_layer: str = "meta_log_variance",
        name: str | None = None,
    ) -> None:
        super().__init__(learning_rate=0.0, name=name)
        self.main, self.meta, self.meta_layer = main, meta, meta_layer

    def split(self, variables: Variables) -> tuple[list[keras.Variable], list[keras.Variable]]:
        """Parts variables into those of `main` and those of `meta`, each in the given order."""
        is_meta = [self.meta_layer in v.path.split("/") for v in variables]
        main = [v for v, meta in zip(variables, is_meta, strict=True) if not meta]
        return main, [v for v, meta in zip(variables, is_meta, strict=True) if meta]

    def build(self, variables: Variables) -> None:
        """Creates the state of both optimizers for their share of the variables."""
        if self.built:
            return
        main_variables, meta_variables = self.split(variables)
        self.main.build(main_variables)
        self.meta.build(meta_variables)
        super().build(variables)

    def apply(self, grads: Sequence[Any], trainable_variables: Variables | None = None) -> None:
        """Applies each gradient with the optimizer its variable belongs to, in one step."""
        variables = self._trainable_variables if trainable_variables is None else trainable_variables
        gradient_of = {v.path: gradient for v, gradient in zip(variables, grads, strict=True)}
        for optimizer, share in zip((self.main, self.meta), self.split(variables), strict=True):
            optimizer.apply([gradient_of[v.path] for v in share], share)

    @property
    def variables(self) -> list[keras.Variable]:
        """The state of both."""
        return self._variables + self.main.variables + self.meta.variables

    @property
    def learning_rate(self) -> Any:
        """The main optimizer's learning rate."""
        return self.main.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.main.learning_rate = learning_rate

    @property
    def iterations(self) -> keras.Variable:
        """Main updates so far."""
        return self.main.iterations

    def finalize_variable_values(self, var_list: Variables) -> None:
        """Lets each overwrite its share with moving averages, where it keeps them."""
        for optimizer, share in zip((self.main, self.meta), self.split(var_list), strict=True):
            optimizer.finalize_variable_values(share)

    def get_config(self) -> dict[str, Any]:
        """Nests the configuration of both."""
        return {
            "name": self.name,
            "main": keras.saving.serialize_keras_object(self.main),
            "meta": keras.saving.serialize_keras_object(self.meta),
            "meta_layer": self.meta_layer,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> "PairOptimizer":
        """Rebuilds both from `get_config`."""
        inner = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
            for key in ("main", "meta")
        }
        return cls(**(config | inner))


def carry_over(state: keras.optimizers.Optimizer, to: keras.optimizers.Optimizer) -> None:
    """Goes on with the steps and moments of an optimizer in another one of the same kind.

    Args:
        state: built for some variables.
        to: built for the same ones, of which some may have more rows: their moments are 0 there. It keeps its
            own learning rate.
    """
    # A learning rate is a variable only where it is no schedule.
    both = ([v for v in each.variables if v.name != "learning_rate"] for each in (state, to))
    for known, variable in zip(*both, strict=True):
        value = np.zeros(variable.shape, variable.dtype)
        value[tuple(map(slice, known.shape))] = ops.convert_to_numpy(known)
        variable.assign(value)


def paired(optimizer: Any, meta_layer: str = "meta_log_variance") -> PairOptimizer:
    """The optimizer itself if it is a pair, or with a second one of the same configuration beside it."""
    optimizer = keras.optimizers.get(optimizer)
    if isinstance(optimizer, PairOptimizer):
        return optimizer
    return PairOptimizer(optimizer, type(optimizer).from_config(optimizer.get_config()), meta_layer)
