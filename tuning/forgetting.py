"""What TensorFlow keeps of models that are gone."""

import contextlib
from collections.abc import Iterator

from tensorflow.python.framework.ops import gradient_registry


@contextlib.contextmanager
def forgetting_gradients() -> Iterator[None]:
    """For models that come and go within: TensorFlow keeps nothing of them afterwards.

    It registers the gradient of every `custom_gradient` that it traces, under a new name each time, for as
    long as the process lives; that gradient holds the function it was traced in, and so some 30 MB for each
    model that was trained. Functions traced within may be called afterwards, but not be differentiated.
    """
    known = set(custom_gradients())
    try:
        yield
    finally:
        for name in set(custom_gradients()) - known:
            del gradient_registry._registry[name]  # there is no public way


def custom_gradients() -> list[str]:
    """The names that hold what was traced of `custom_gradient`."""
    return [name for name in gradient_registry.list() if name.startswith("CustomGradient-")]
