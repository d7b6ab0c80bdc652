"""Losses of a target against sampled negatives, as pure functions of scores.

Axes: K negatives. Leading axes written `...` may be anything. A negative that scores -inf, or nearly so
(-1e9), does not count: neither in the loss nor in its gradient.
"""

from typing import Any

from keras import ops

Tensor = Any


def sampled_softmax(target_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Softmax cross-entropy of each target against K sampled negatives instead of the whole catalogue.

    Estimates the full softmax if each negative had the logarithm of how often it is expected in the sample
    subtracted from its score (Bengio and Senecal 2008), and one that is the target scores -inf or nearly so.
    The target is not sampled: its score stays as it is.

    Args:
        target_scores: `[...]`.
        negative_scores: `[..., K]`, corrected.

    Returns:
        `[...]` float32, in nats.
    """
    scores = ops.concatenate([target_scores[..., None], negative_scores], axis=-1)
    scores = ops.cast(scores, "float32")
    # The difference first: beside scores of some thousand, float32 has no room for a loss of some nats.
    return ops.logsumexp(scores - scores[..., :1], axis=-1)


def gbce(target_scores: Tensor, negative_scores: Tensor, num_items: int, calibration: float = 0.75) -> Tensor:
    """Generalised binary cross-entropy (Petrov and Macdonald 2023, "gSASRec", eq. 9 and 10).

    Sampling shows the model too many targets among too few negatives, which teaches it overconfidence; the
    positive term is damped by a power that undoes it.

    Args:
        target_scores: `[...]`.
        negative_scores: `[..., K]`, of uniformly drawn negatives; -inf or nearly so does not count.
        num_items: V.
        calibration: t, from 0 (plain binary cross-entropy) to 1 (fully calibrated probabilities).

    Returns:
        `[...]` float32, in nats, the mean over the target and its negatives.
    """
    target_scores, negative_scores = ops.cast(target_scores, "float32"), ops.cast(negative_scores, "float32")
    num_negatives = negative_scores.shape[-1]
    rate = min(1.0, num_negatives / max(1, num_items - 1))
    power = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    positive = power * ops.softplus(-target_scores)
    return (positive + ops.sum(ops.softplus(negative_scores), axis=-1)) / (num_negatives + 1)


def bce(target_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Binary cross-entropy, -log sigmoid(target) - mean over negatives of log(1 - sigmoid(negative)).

    With one negative it is SASRec's (Kang and McAuley 2018); more of them weigh together as much as the
    target, whatever their number.

    Args:
        target_scores: `[...]`.
        negative_scores: `[..., K]`.

    Returns:
        `[...]` float32, in nats.
    """
    target_scores, negative_scores = ops.cast(target_scores, "float32"), ops.cast(negative_scores, "float32")
    return ops.softplus(-target_scores) + ops.mean(ops.softplus(negative_scores), axis=-1)


def bpr(target_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """Bayesian personalised ranking (Rendle et al. 2009): the mean of -log sigmoid(target - negative).

    Args:
        target_scores: `[...]`.
        negative_scores: `[..., K]`.

    Returns:
        `[...]` float32, in nats.
    """
    target_scores, negative_scores = ops.cast(target_scores, "float32"), ops.cast(negative_scores, "float32")
    return ops.mean(ops.softplus(negative_scores - target_scores[..., None]), axis=-1)


def bpr_max(target_scores: Tensor, negative_scores: Tensor, regularization: float = 1.0) -> Tensor:
    """BPR-max (Hidasi and Karatzoglou 2018): BPR against the negatives by their softmax shares s_j.

    -log sum_j s_j sigmoid(target - negative_j) + regularization * sum_j s_j negative_j^2; gradients flow
    through the shares too. Taken in logarithms, where the authors' code adds 1e-24 inside the first one.

    Args:
        target_scores: `[...]`.
        negative_scores: `[..., K]`.
        regularization: lambda, which holds the scores of negatives near 0; 1 as the authors' code has it.

    Returns:
        `[...]` float32; 0 where no negative counts.
    """
    counts, scores, log_shares = _softmax_shares(negative_scores)
    margins = ops.cast(target_scores, "float32")[..., None] - scores
    ranking = -ops.logsumexp(log_shares - ops.softplus(-margins), axis=-1)
    penalty = ops.sum(ops.exp(log_shares) * ops.square(scores), axis=-1)
    return ops.where(ops.any(counts, axis=-1), ranking + regularization * penalty, 0.0)


def top1_max(target_scores: Tensor, negative_scores: Tensor) -> Tensor:
    """TOP1-max (Hidasi and Karatzoglou 2018): TOP1 against the negatives by their softmax shares s_j.

    sum_j s_j (sigmoid(negative_j - target) + sigmoid(negative_j^2)); the second term is the paper's
    regularisation of scores. Gradients flow through the shares too.

    Args:
        target_scores: `[...]`.
        negative_scores: `[..., K]`.

    Returns:
        `[...]` float32, between 1/2 and 2; 0 where no negative counts.
    """
    counts, scores, log_shares = _softmax_shares(negative_scores)
    worse = ops.sigmoid(scores - ops.cast(target_scores, "float32")[..., None])
    terms = ops.exp(log_shares) * (worse + ops.sigmoid(ops.square(scores)))
    return ops.sum(ops.where(counts, terms, 0.0), axis=-1)


def _softmax_shares(negative_scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which `[..., K]` negatives count, their scores (0 for others), and the logarithms of their shares."""
    negative_scores = ops.cast(negative_scores, "float32")
    counts = ops.greater(negative_scores, -1e8)
    scores = ops.where(counts, negative_scores, 0.0)
    return counts, scores, ops.log_softmax(ops.where(counts, scores, -1e9), axis=-1)
