"""Losses as pure functions of tensors.

Axes: B batch, D hidden_dim, V num_items. Leading axes written `...` may be anything.
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from metasgcl_tf.layers.embedding import with_score

Tensor = Any


def softmax_cross_entropy(
    states: Tensor,
    item_table: Tensor,
    targets: Tensor,
    weights: Tensor,
    static_shapes: bool = False,
    *,
    seen: Tensor | None = None,
    seen_margin: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Full-catalogue softmax cross-entropy (paper, eq. 23), fused with the product that makes its scores.

    Scores exist only for positions with a target and a weight, a block of them at a time; each block takes
    three matrix products, which give its loss and both gradients in one pass. Memory does not grow with the
    number of targets times V.

    Args:
        states: `[..., D]`, what the model knows at each position.
        item_table: `[V + 1, D]`; row 0 is padding, which is never scored and gets no gradient.
        targets: `[...]` int, 1..V; 0 where there is no target.
        weights: `[...]`, what each target counts; no gradient flows to them.
        static_shapes: for XLA, which cannot shrink the last block to the targets that are left.
        seen: with a `seen_margin`, `[B, L]` int, the items of the sequences, 0 for padding. States and
            targets are then those of their newest T positions, `[B, T, ...]`, or of n views of them, one
            after another, `[n B, T, ...]`.
        seen_margin: by how much the scores of seen items are raised: those that stand at a position or
            before it, the target itself left out. They must then score so much lower to cost as little.

    Returns:
        The weighted sum of the targets' negative log-probabilities in nats, a float32 scalar to minimise;
        and its terms, `[...]` float32, weighted, 0 where there is no target, to report: no gradient flows.
    """
    # Half-precision sums over a whole catalogue lose the small probabilities: float32 throughout.
    item_table, shape = ops.cast(item_table, "float32"), ops.shape(targets)
    states = ops.reshape(ops.cast(states, "float32"), (-1, states.shape[-1]))
    targets, weights = ops.reshape(targets, (-1,)), ops.reshape(ops.cast(weights, "float32"), (-1,))
    weights = ops.stop_gradient(ops.where(ops.not_equal(targets, 0), weights, 0.0))
    # What does not count is not read either: 0 times infinity would be NaN.
    states = ops.where(ops.not_equal(weights, 0)[:, None], states, 0.0)
    raised = None
    if seen_margin:
        raised = functools.partial(_with_margin, seen=seen, margin=seen_margin, newest=shape[1])
    total, terms = _fused_cross_entropy(states, item_table, targets, weights, static_shapes, raised)
    return total, ops.reshape(ops.stop_gradient(terms), shape)


def _with_margin(
    logits: Tensor, places: Tensor, targets: Tensor, *, seen: Tensor, margin: float, newest: int
) -> Tensor:
    """Logits of items 1..V, raised for what stands at a position of its sequence or before it.

    Args:
        logits: `[N, V]`.
        places: `[N]`, of the positions in the flattened `[n B, newest]`.
        targets: `[N]`, theirs, which are not raised.
        seen: `[B, L]`, the sequences.
        margin: by how much.
        newest: how many positions of each are counted.
    """
    num_sequences, length = ops.shape(seen)[0], ops.shape(seen)[1]
    last = length - newest + places % newest
    items = ops.take(seen, places // newest % num_sequences, axis=0)
    counted = ops.logical_and(ops.arange(length) <= last[:, None], items != 0)
    counted = ops.logical_and(counted, items != targets[:, None])
    # What is not raised becomes the target with the score that it has; without a target nothing counts.
    labels = ops.maximum(ops.where(counted, items, targets[:, None]) - 1, 0)
    found = ops.take_along_axis(logits, labels, axis=1)
    return with_score(logits, labels, found + ops.where(counted, margin, 0.0))


def _fused_cross_entropy(
    states: Tensor,
    item_table: Tensor,
    targets: Tensor,
    weights: Tensor,
    static_shapes: bool,
    raised: Callable[[Tensor, Tensor, Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """`softmax_cross_entropy` of `[N, D]` states: the sum and its `[N]` terms.

    The gradients are computed together with the loss, from the same exponentials: what reaches a sum from
    above is one number, so that the backward pass has only to multiply by it.
    """
    num_rows = item_table.shape[0]
    # Large enough for fast products, small enough for a block of scores to stay below 128 MB.
    block = max(16, min(512, 2**25 // num_rows))
    # Rows that count come first, the others are never scored.
    counts = ops.cast(ops.not_equal(weights, 0), "int32")
    order, num_targets = ops.argsort(-counts), ops.sum(counts)
    if static_shapes:  # the last block may then reach beyond the last row: to row 0 again, with weight 0
        order = ops.pad(order, [[0, block]])

    @ops.custom_gradient
    def cross_entropy(states: Tensor, item_table: Tensor) -> tuple[Any, Any]:
        # Without this, TensorFlow's eager tape would hold every block's scores.
        states, item_table = ops.stop_gradient(states), ops.stop_gradient(item_table)
        table = item_table[1:]

        def one_block(start: Tensor, terms: Tensor, d_states: Tensor, d_table: Tensor) -> tuple:
            size = block if static_shapes else ops.minimum(block, num_targets - start)
            rows = ops.slice(order, (start,), (size,))
            block_weights = ops.where(start + ops.arange(size) < num_targets, ops.take(weights, rows), 0.0)
            block_states, block_targets = ops.take(states, rows, axis=0), ops.take(targets, rows)
            logits = ops.matmul(block_states, ops.transpose(table))
            if raised is not None:
                logits = raised(logits, rows, block_targets)
            found = _block_cross_entropy(logits, block_states, table, block_targets - 1, block_weights)
            terms = ops.scatter_update(terms, rows[:, None], found[0], reduction="add")
            d_states = ops.scatter_update(d_states, rows[:, None], found[1], reduction="add")
            return start + block, terms, d_states, d_table + found[2]

        zeros = (ops.zeros_like(weights), ops.zeros_like(states), ops.zeros_like(table))
        _, terms, d_states, d_table = ops.while_loop(
            lambda start, *_: ops.less(start, num_targets), one_block, (0, *zeros)
        )
        at_targets = ops.segment_sum(weights[:, None] * states, targets, num_segments=num_rows)
        d_table = ops.concatenate([ops.zeros_like(item_table[:1]), d_table]) - at_targets

        def gradient(*upstream: Any) -> tuple[Tensor, Tensor]:
            of_sum, _ = keras.tree.flatten(upstream)  # two arguments on TensorFlow, one pair on JAX
            return of_sum * d_states, of_sum * d_table

        return (ops.sum(terms), terms), gradient

    return cross_entropy(states, item_table)


def _block_cross_entropy(
    logits: Tensor, states: Tensor, table: Tensor, labels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted cross-entropy of `[N, D]` states with labels 0..V-1, and its gradients in states and table.

    That in the table, `[V, D]`, lacks what the labels' own rows get. The logits of the labels are the
    products of the two, those of other items may differ from them by a constant.
    """
    largest = ops.max(logits, axis=-1, keepdims=True)
    exponentials = ops.exp(logits - largest)
    sums = ops.sum(exponentials, axis=-1, keepdims=True)
    label_rows = ops.take(table, labels, axis=0)
    # The difference first: a small loss is lost beside large scores.
    losses = ops.log(sums)[:, 0] + (largest[:, 0] - ops.sum(states * label_rows, axis=-1))
    share = weights[:, None] / sums
    d_states = share * ops.matmul(exponentials, table) - weights[:, None] * label_rows
    return weights * losses, d_states, ops.matmul(ops.transpose(exponentials), share * states)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, I), exact (paper, eq. 24-25 with the 1/2).

    Args:
        mean: `[..., D]`.
        log_variance: `[..., D]`.

    Returns:
        `[...]` float32, summed over D, in nats.
    """
    mean, log_variance = ops.cast(mean, "float32"), ops.cast(log_variance, "float32")
    return 0.5 * ops.sum(ops.square(mean) + ops.exp(log_variance) - 1.0 - log_variance, axis=-1)


def dropout_kl(alpha: Tensor) -> Tensor:
    """KL divergence of Gaussian dropout from a log-uniform prior, without its constant.

    The cubic approximation of Kingma et al. 2015 ("Variational dropout and the local reparameterization
    trick", section 4.2). It falls as alpha rises to 1.

    Args:
        alpha: variance of the noise over the squared mean, above 0 and up to 1.
    """
    return -(0.5 * ops.log(alpha) + 1.16145124 * alpha - 1.50204118 * alpha**2 + 0.58629921 * alpha**3)


def info_nce(view: Tensor, other_view: Tensor, temperature: float = 1.0, similarity: str = "dot") -> Tensor:
    """InfoNCE between two views of the same B sequences (paper, eq. 26, with its missing minus sign).

    The positive of `view[u]` is `other_view[u]` and the other way round; the negatives are both views of
    every other sequence of the batch, 2(B - 1) of them.

    Args:
        view: `[B, D]` representations.
        other_view: `[B, D]` representations of the same sequences.
        temperature: tau, divides the similarities.
        similarity: `"dot"` or `"cosine"` (paper, Table VII).

    Returns:
        float32 scalar, the mean over the 2B anchors in nats; 0 for B = 1, where there is no negative.
    """
    both = ops.cast(ops.concatenate([view, other_view], axis=0), "float32")
    if similarity == "cosine":
        both = ops.normalize(both, axis=-1, epsilon=1e-12)
    batch_size = ops.shape(view)[0]
    logits = ops.matmul(both, ops.transpose(both)) / temperature
    anchors = ops.arange(2 * batch_size)
    # A sequence is neither its own positive nor its own negative.
    itself = ops.equal(anchors[:, None], anchors[None, :])
    logits = ops.where(itself, -3e38, logits)  # below all that is finite: similarities have no bound
    positives = (anchors + batch_size) % (2 * batch_size)
    return ops.mean(ops.sparse_categorical_crossentropy(positives, logits, from_logits=True))
