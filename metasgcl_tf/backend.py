"""Where TensorFlow and JAX differ: gradients of a stateful update, compiled functions, rows of a table.

Everything else is written with `keras.ops`. On JAX a variable cannot be assigned inside a compiled
function; Keras' stateless scopes let the same code run there, with values passed in and read out.
"""

import ctypes
import functools
import operator
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras

from metasgcl_tf.errors import InputError

Tensor = Any
Variables = Sequence[keras.Variable]
NAME = keras.backend.backend()

if NAME == "tensorflow":
    import tensorflow as tf
elif NAME == "jax":
    import jax
else:
    raise ImportError(f"KERAS_BACKEND should be tensorflow or jax. Received: {NAME!r}.")


@functools.cache
def keep_freed_memory() -> None:
    """Lets glibc keep the memory that one step frees for the next, instead of handing it back to the system.

    A step takes and frees many blocks of some megabytes each, whose pages the system would otherwise have to
    clear anew at every step: on a virtual machine that can take as long as the step itself. Without effect
    where another C library is in use, or where a `MALLOC_` variable says that the user has chosen.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # of malloc.h
        mallopt(mmap_threshold, 2**25)  # its maximum; smaller blocks come from the heap
        mallopt(top_pad, 2**27)  # above the size of a thread's heap, which is then never given back
        mallopt(trim_threshold, 2**31 - 1)


def static_shapes() -> bool:
    """Whether compiled functions are always XLA's, which needs every shape in advance."""
    return NAME == "jax"


def accelerator() -> str | None:
    """What the GPU or TPU that computes calls itself; None where a processor does."""
    if NAME == "jax":
        device = jax.devices()[0]
        return None if device.platform == "cpu" else device.device_kind
    found = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(found[0]).get("device_name", "GPU") if found else None


def gradients(loss: Callable[[], Tensor], variables: Variables, state: Variables) -> list[Tensor]:
    """Gradients of a loss in some variables.

    Args:
        loss: computes a scalar from the variables; may assign others (metrics, seeds of random numbers).
        variables: those to differentiate by.
        state: every variable that `loss` reads or assigns, these included.

    Returns:
        One for each of `variables`, in order. On TensorFlow, `tf.IndexedSlices` where only rows were read,
        each row once.
    """
    if NAME == "tensorflow":
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([v.value for v in variables])
            value = loss()
        found = tape.gradient(value, [v.value for v in variables])
        return [summed_rows(g) if isinstance(g, tf.IndexedSlices) else g for g in found]

    paths = {v.path for v in variables}
    others = [v for v in state if v.path not in paths]

    def stateless_loss(values: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        given = [*zip(variables, values, strict=True), *((v, v.value) for v in others)]
        with keras.StatelessScope(state_mapping=given) as scope:
            value = loss()
        return value, [scope.get_current_value(v) for v in others]

    found, assigned = jax.grad(stateless_loss, has_aux=True)([v.value for v in variables])
    for variable, value in zip(others, assigned, strict=True):
        variable.assign(value)
    return found


def keras_step(
    update: Callable[[keras.Model, Any], Any], *groups: str, returned: int | None = None
) -> Callable:
    """Turns `update(model, data) -> result`, which may assign variables, into a step of Keras' loops.

    On TensorFlow that is what Keras asks for. On JAX a step takes and returns the variables' values.

    Args:
        update: what to do with a batch.
        *groups: the model's lists of variables whose values the step is given on JAX, in Keras' order.
        returned: which of the groups it returns; by default all.
    """
    if NAME == "tensorflow":
        return update

    def stateless_update(model: keras.Model, state: tuple, data: Any) -> tuple[Any, tuple]:
        lists = [operator.attrgetter(group)(model) for group in groups]
        pairs = [p for each, values in zip(lists, state, strict=True) for p in zip(each, values, strict=True)]
        with keras.StatelessScope(state_mapping=pairs) as scope:
            result = update(model, data)
        assigned = tuple([scope.get_current_value(v) for v in each] for each in lists)
        return result, assigned if returned is None else assigned[returned]

    return stateless_update


def compiled(function: Callable[..., Any], variables: Variables) -> Callable[..., Any]:
    """Compiles a function of tensors that reads some variables.

    Args:
        function: takes tensors; arguments passed by keyword are static Python values.
        variables: every variable it reads.
    """
    if NAME == "tensorflow":
        # No Python statement in it asks for a tensor's value, so AutoGraph has nothing to translate.
        return tf.function(function, reduce_retracing=True, autograph=False)

    @functools.cache
    def with_static(**static: Any) -> Callable:
        def stateless(values: list[Tensor], *tensors: Tensor) -> Any:
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                return function(*tensors, **static)

        return jax.jit(stateless)

    return lambda *tensors, **static: with_static(**static)([v.value for v in variables], *tensors)


def check(condition: Tensor, rule: str) -> None:
    """Raises an error that states the rule unless a condition holds, a truth value or a scalar tensor.

    Of a tensor TensorFlow's `InvalidArgumentError`, in a compiled function when that runs; JAX cannot raise
    from there and lets it pass.
    """
    if isinstance(condition, bool):
        if not condition:
            raise InputError(f"The {rule}.")
    elif NAME == "tensorflow":
        tf.debugging.Assert(condition, [f"The {rule}."])


def take_rows(table: keras.Variable, rows: Tensor) -> Tensor:
    """`[V, D]` variable and `[...]` int rows to `[..., D]`, reading only those rows.

    TensorFlow copies the whole of a variable that is updated row by row whenever it is read as a tensor.
    """
    return tf.gather(table.value, rows) if NAME == "tensorflow" else keras.ops.take(table, rows, axis=0)


def summed_rows(gradient: Any) -> Any:
    """`tf.IndexedSlices` with each row once, the sum of all it got; Keras' optimizers would take the last."""
    rows, slots = tf.unique(gradient.indices)
    summed = tf.math.unsorted_segment_sum(gradient.values, slots, tf.size(rows))
    return tf.IndexedSlices(summed, rows, gradient.dense_shape)


def global_norm(gradients: Sequence[Any]) -> Tensor:
    """The L2 norm of all gradients together, a scalar; each row of a `tf.IndexedSlices` is there once."""
    given = [gradient for gradient in gradients if gradient is not None]
    if NAME == "tensorflow":
        # One operation a variable, so that it costs next to nothing.
        given = [g.values if isinstance(g, tf.IndexedSlices) else g for g in given]
        return tf.sqrt(2.0 * tf.add_n([tf.cast(tf.nn.l2_loss(g), "float32") for g in given] or [0.0]))
    return keras.ops.sqrt(sum(keras.ops.sum(keras.ops.square(g)) for g in given))


def clipped(gradients: Sequence[Any], norm: float) -> list[Any]:
    """Gradients scaled down to a global norm; the rows of a `tf.IndexedSlices` stay rows, each once."""
    given = [summed_rows(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]
    return tf.clip_by_global_norm(given, norm, use_norm=global_norm(given))[0]


def apply_adam(
    variable: Any,
    first_moment: Any,
    second_moment: Any,
    gradient: Any,
    beta_1_power: Tensor,
    beta_2_power: Tensor,
    learning_rate: Tensor,
    beta_1: float,
    beta_2: float,
    epsilon: float,
) -> None:
    """One Adam update of a `tf.Variable` and its moments: all of it, or the rows of a `tf.IndexedSlices`."""
    if not isinstance(gradient, tf.IndexedSlices):
        handles = {"var": variable.handle, "m": first_moment.handle, "v": second_moment.handle}
        powers = {"beta1_power": beta_1_power, "beta2_power": beta_2_power}
        rates = {"lr": learning_rate, "beta1": beta_1, "beta2": beta_2, "epsilon": epsilon}
        tf.raw_ops.ResourceApplyAdam(**handles, **powers, **rates, grad=gradient)
        return
    summed = summed_rows(gradient)
    rows, gradient = summed.indices, summed.values
    first = beta_1 * tf.gather(first_moment, rows) + (1 - beta_1) * gradient
    second = beta_2 * tf.gather(second_moment, rows) + (1 - beta_2) * tf.square(gradient)
    rate = learning_rate * tf.sqrt(1 - beta_2_power) / (1 - beta_1_power)
    first_moment.scatter_update(tf.IndexedSlices(first, rows))
    second_moment.scatter_update(tf.IndexedSlices(second, rows))
    variable.scatter_sub(tf.IndexedSlices(rate * first / (tf.sqrt(second) + epsilon), rows))
