"""Two optimizers in one, for models with a two-step update."""

from collections.abc import Sequence
from typing import Any

import keras

Variables = Sequence[keras.Variable]


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
