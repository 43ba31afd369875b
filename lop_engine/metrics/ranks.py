"""Ranks of the last hidden layer's activations on one batch."""

import torch
from torch import Tensor

STABLE_RANK_SHARE = 0.99


def effective_rank(singular_values_SF: Tensor) -> Tensor:
    """exp(entropy of s / sum(s)), shape (S,) (Roy & Vetterli 2007). An all-zero matrix has rank 0."""
    total_S1 = singular_values_SF.sum(1, keepdim=True)
    share_SF = singular_values_SF / total_S1
    entropy_S = -torch.special.xlogy(share_SF, share_SF).sum(1)
    return torch.where(total_S1.squeeze(1) == 0, 0.0, entropy_S.exp())


def stable_rank(singular_values_SF: Tensor, share: float = STABLE_RANK_SHARE) -> Tensor:
    """The least k with (s_1 + ... + s_k) / sum(s) >= `share`, shape (S,).

    The definition of Dohare et al. (Nature 2024); other work calls other things stable rank. An all-zero
    matrix has rank 0.
    """
    total_S1 = singular_values_SF.sum(1, keepdim=True)
    reached_SF = singular_values_SF.cumsum(1) / total_S1 >= share
    rank_S = (~reached_SF).sum(1).float() + 1
    return torch.where(total_S1.squeeze(1) == 0, 0.0, torch.where(total_S1.squeeze(1).isnan(), torch.nan, rank_S))


def singular_values(activations_SBF: Tensor) -> Tensor:
    """Singular values of each seed's B x F activations, falling, (S, min(B, F)); NaN for a diverged seed."""
    finite_S = activations_SBF.isfinite().flatten(1).all(1)
    usable_SBF = torch.where(finite_S[:, None, None], activations_SBF, 0.0)
    return torch.where(finite_S[:, None], torch.linalg.svdvals(usable_SBF), torch.nan)
