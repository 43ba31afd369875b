"""Ranks of the last hidden layer's activations on one batch, from their singular values s_1 >= s_2 >= ...

All ranks of an all-zero matrix are 0; those of a diverged seed are NaN.
"""

import torch
from torch import Tensor

STABLE_RANK_SHARE = 0.99


def singular_values(activations_SBF: Tensor) -> Tensor:
    """Return singular values of each seed's B x F activations, descending, (S, min(B, F)); NaN for a diverged seed."""
    finite_S = activations_SBF.isfinite().flatten(1).all(1)
    usable_SBF = torch.where(finite_S[:, None, None], activations_SBF, 0.0)
    return torch.where(finite_S[:, None], torch.linalg.svdvals(usable_SBF), torch.nan)


def effective_rank(singular_values_SF: Tensor) -> Tensor:
    """Exponential of the entropy of the normalised singular values, shape (S,), 1 .. min(B, F).

    exp(-sum_i p_i log p_i), p = s / sum(s). Source: Roy & Vetterli (2007).
    """
    share_SF = singular_values_SF / singular_values_SF.sum(1, keepdim=True)
    return _zero_if_all_zero(singular_values_SF, (-torch.special.xlogy(share_SF, share_SF).sum(1)).exp())


def stable_rank(singular_values_SF: Tensor, share: float = STABLE_RANK_SHARE) -> Tensor:
    """Number of singular values that make up 99 % of their sum, shape (S,), a whole number.

    The smallest k with (s_1 + ... + s_k) / sum(s) >= 0.99. Source: Dohare et al. (Nature 2024). Other papers use the
    name stable rank for other ratios, see frobenius_spectral_ratio.
    """
    total_S1 = singular_values_SF.sum(1, keepdim=True)
    reached_SF = singular_values_SF.cumsum(1) / total_S1 >= share
    rank_S = (~reached_SF).sum(1).float() + 1
    return _zero_if_all_zero(singular_values_SF, torch.where(total_S1.squeeze(1).isnan(), torch.nan, rank_S))


def approximate_rank(singular_values_SF: Tensor, share: float = STABLE_RANK_SHARE) -> Tensor:
    """Number of singular values whose squares make up 99 % of the sum of squares, shape (S,), a whole number.

    The smallest k with (s_1^2 + ... + s_k^2) / sum(s^2) >= 0.99. Source: the reference's code for Online Permuted
    MNIST.
    """
    return stable_rank(singular_values_SF.square(), share)


def rank(singular_values_SF: Tensor, num_rows: int = 2000) -> Tensor:
    """Number of singular values above the rounding error, shape (S,), a whole number.

    |{i : s_i > n eps s_1}|, where n is 2000, or the number of singular values if that is larger, and eps that of the
    floating-point type: the usual bound on rounding errors, as in numpy.linalg.matrix_rank. The reference counts
    singular values that are not exactly 0. Source: the reference's code for Online Permuted MNIST.
    """
    eps = torch.finfo(singular_values_SF.dtype).eps
    limit_S1 = singular_values_SF[:, :1] * max(num_rows, singular_values_SF.shape[1]) * eps
    rank_S = (singular_values_SF > limit_S1).sum(1).float()
    return torch.where(singular_values_SF[:, 0].isnan(), torch.nan, rank_S)


def srank(singular_values_SF: Tensor) -> Tensor:
    """Feature rank of Kumar et al., shape (S,), a whole number; always equal to stable_rank.

    The smallest k with (s_1 + ... + s_k) / sum(s) >= 1 - delta, delta = 0.01.
    Source: Kumar et al., "Implicit under-parameterization inhibits data-efficient deep RL" (ICLR 2021).
    """
    return stable_rank(singular_values_SF, share=1 - 0.01)


def nuclear_frobenius_ratio(singular_values_SF: Tensor) -> Tensor:
    """Nuclear norm divided by Frobenius norm, shape (S,), 1 .. sqrt(min(B, F)).

    sum(s) / sqrt(sum(s^2)). Source: the description of the reference's recording variant, which calls it stable rank.
    """
    ratio_S = singular_values_SF.sum(1) / singular_values_SF.norm(dim=1)
    return _zero_if_all_zero(singular_values_SF, ratio_S)


def frobenius_spectral_ratio(singular_values_SF: Tensor) -> Tensor:
    """Squared Frobenius norm divided by squared spectral norm, shape (S,), 1 .. min(B, F).

    ||A||_F^2 / ||A||_2^2 = sum(s^2) / s_1^2, the stable rank of numerical linear algebra.
    Source: Rudelson & Vershynin (2007).
    """
    ratio_S = singular_values_SF.square().sum(1) / singular_values_SF[:, 0].square()
    return _zero_if_all_zero(singular_values_SF, ratio_S)


def _zero_if_all_zero(singular_values_SF: Tensor, rank_S: Tensor) -> Tensor:
    return torch.where(singular_values_SF[:, 0] == 0, 0.0, rank_S)
