"""Training steps of a part for networks with at most one small hidden layer, compiled with Numba.

Each run of a stack trains on one example after another. Runs are the innermost axis, in groups of `LANES`, so that
each operation is one vector instruction and everything that a run changes stays in the cache. The
arithmetic is that of the methods' code, with a different order of summation.

Dimensions: N examples, S runs, I inputs, H hidden units, F inputs of the output layer (the hidden units, or the inputs
of a network without), P weights and biases, L lanes.
"""
# mypy: ignore-errors

import math

import numpy as np
from numba import njit

LANES = 32
RELU, LEAKY_RELU, ELU, SWISH, TANH, SIGMOID = range(6)
SGD, ADAM = range(2)
FAST = {"contract", "reassoc", "nsz", "arcp"}
"""Rounding may differ; NaN and infinity are preserved, so that divergence is visible."""


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def train(x_NSI, y_NS, flat_SP, shape, activation, steps_S, optimizer, moments, noise, replacement, losses_NS):
    """Train all runs on all examples, in order; changes the state in place and writes the losses.

    Args:
        flat_SP: weights of the hidden layer, its biases, weights of the output, its bias.
        shape: (I, H); H is 0 for a network without a hidden layer.
        steps_S: (step size, weight decay) of each run, (S, 2).
        moments: Adam's first and second moments and step counts (3, S, P), its scalars (beta_1, beta_2, epsilon), and
            by step count the corrections 1 / (1 - beta_1^t) and sqrt(1 - beta_2^t).
        noise: standard normal numbers (S, N, P) and their scale (S,); empty for none.
        replacement: see `_replace`; its rates are empty for none.
    """
    num_inputs, num_hidden = shape
    num_examples, num_runs = y_NS.shape
    num_weights = num_hidden * num_inputs
    first_out = num_weights + num_hidden
    num_features = num_hidden or num_inputs
    adam_SP, scalars, correction_1, correction_2 = moments
    noise_SNP, scale_S = noise
    numbers_SNK, budget_S, units_SHA, rates_S, maturity_S, most_S, settings, share_A = replacement
    beta_1, beta_2, epsilon = np.float32(scalars[0]), np.float32(scalars[1]), np.float32(scalars[2])
    last = len(correction_1) - 1
    w = np.zeros((flat_SP.shape[1], LANES), np.float32)
    g = np.zeros((flat_SP.shape[1], LANES), np.float32)
    adam = np.zeros((3, flat_SP.shape[1], LANES), np.float32)
    x = np.zeros((num_inputs, LANES), np.float32)
    z = np.zeros((num_hidden, LANES), np.float32)
    h = np.zeros((num_features, LANES), np.float32)
    slope = np.zeros((num_hidden, LANES), np.float32)
    y = np.zeros(LANES, np.float32)
    out = np.zeros(LANES, np.float32)
    error = np.zeros(LANES, np.float32)
    size = np.zeros(LANES, np.float32)
    decay = np.zeros(LANES, np.float32)
    factor = np.zeros(LANES, np.float32)
    root = np.ones(LANES, np.float32)
    units = np.zeros((3, num_hidden, LANES), np.float32)
    corrected = np.zeros((num_hidden, LANES), np.float32)
    for start in range(0, num_runs, LANES):
        lanes = min(LANES, num_runs - start)
        for lane in range(lanes):
            size[lane], decay[lane] = steps_S[start + lane, 0], steps_S[start + lane, 1]
            w[:, lane] = flat_SP[start + lane]
            if optimizer == ADAM:
                adam[:, :, lane] = adam_SP[:, start + lane]
            if len(rates_S):
                units[:, :, lane] = units_SHA[:, start + lane]
        for n in range(num_examples):
            for lane in range(lanes):
                y[lane] = y_NS[n, start + lane]
                for i in range(num_inputs):
                    x[i, lane] = x_NSI[n, start + lane, i]
            for u in range(num_hidden):
                for lane in range(LANES):
                    z[u, lane] = w[num_weights + u, lane]
                for i in range(num_inputs):
                    for lane in range(LANES):
                        z[u, lane] += w[u * num_inputs + i, lane] * x[i, lane]
                _activate(activation, z[u], h[u], slope[u])
            if num_hidden == 0:
                h[:] = x
            for lane in range(LANES):
                out[lane] = w[first_out + num_features, lane]
            for u in range(num_features):
                for lane in range(LANES):
                    out[lane] += w[first_out + u, lane] * h[u, lane]
            for lane in range(LANES):
                error[lane] = out[lane] - y[lane]
            for lane in range(lanes):
                losses_NS[n, start + lane] = error[lane] * error[lane]
            for lane in range(LANES):
                error[lane] *= np.float32(2)
                g[first_out + num_features, lane] = error[lane]
            for u in range(num_features):
                for lane in range(LANES):
                    g[first_out + u, lane] = error[lane] * h[u, lane]
            for u in range(num_hidden):
                for lane in range(LANES):
                    g[num_weights + u, lane] = error[lane] * w[first_out + u, lane] * slope[u, lane]
            if optimizer == SGD:
                for u in range(num_hidden):
                    for i in range(num_inputs):
                        p = u * num_inputs + i
                        for lane in range(LANES):
                            change = g[num_weights + u, lane] * x[i, lane] + decay[lane] * w[p, lane]
                            w[p, lane] -= size[lane] * change
                for p in range(num_weights, len(w)):
                    for lane in range(LANES):
                        w[p, lane] -= size[lane] * (g[p, lane] + decay[lane] * w[p, lane])
            else:
                for lane in range(LANES):
                    t = min(int(adam[2, 0, lane]) + 1, last)
                    factor[lane], root[lane] = size[lane] * correction_1[t], np.float32(1) / correction_2[t]
                for p in range(len(w)):
                    if p < num_weights:
                        for lane in range(LANES):
                            g[p, lane] = g[num_weights + p // num_inputs, lane] * x[p % num_inputs, lane]
                    if len(rates_S):  # the weights of a replaced unit are reset
                        for lane in range(LANES):
                            t = min(int(adam[2, p, lane]) + 1, last)
                            factor[lane], root[lane] = size[lane] * correction_1[t], np.float32(1) / correction_2[t]
                    for lane in range(LANES):
                        change = g[p, lane] + decay[lane] * w[p, lane]
                        first = adam[0, p, lane] + (np.float32(1) - beta_1) * (change - adam[0, p, lane])
                        second = beta_2 * adam[1, p, lane] + (np.float32(1) - beta_2) * change * change
                        adam[0, p, lane], adam[1, p, lane] = first, second
                        adam[2, p, lane] += np.float32(1)
                        w[p, lane] -= factor[lane] * first / (np.sqrt(second) * root[lane] + epsilon)
            for lane in range(lanes if len(scale_S) else 0):
                for p in range(len(w)):
                    w[p, lane] += scale_S[start + lane] * noise_SNP[start + lane, n, p]
            if len(rates_S):
                _update_utility(w, h, units, corrected, num_inputs, settings, share_A)
                for lane in range(lanes):
                    run = start + lane
                    chance = numbers_SNK[run, n, numbers_SNK.shape[2] - 1]
                    due = units_due(
                        units[0, :, lane], budget_S, run, rates_S, maturity_S, most_S[run], settings, chance
                    )
                    for k in range(due):
                        _replace(
                            w,
                            adam,
                            units,
                            corrected,
                            lane,
                            maturity_S[run],
                            k,
                            numbers_SNK[run, n],
                            settings,
                            num_inputs,
                        )
        for lane in range(lanes):
            flat_SP[start + lane] = w[:, lane]
            if optimizer == ADAM:
                adam_SP[:, start + lane] = adam[:, :, lane]
            if len(rates_S):
                units_SHA[:, start + lane] = units[:, :, lane]


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def _activate(activation, z, h, slope):
    """Compute outputs and derivatives of a unit in all lanes."""
    one = np.float32(1)
    if activation <= LEAKY_RELU:
        low = np.float32(0.01 if activation == LEAKY_RELU else 0)
        for lane in range(LANES):
            slope[lane] = one if z[lane] > 0 else low
            h[lane] = z[lane] * slope[lane]
    elif activation == ELU:
        for lane in range(LANES):
            below = np.float32(math.expm1(min(z[lane], np.float32(0))))
            h[lane] = z[lane] if z[lane] > 0 else below
            slope[lane] = one if z[lane] > 0 else below + one
    elif activation == TANH:
        for lane in range(LANES):
            h[lane] = math.tanh(z[lane])
            slope[lane] = one - h[lane] * h[lane]
    else:
        for lane in range(LANES):
            sigmoid = one / (one + np.float32(math.exp(-z[lane])))
            if activation == SIGMOID:
                h[lane], slope[lane] = sigmoid, sigmoid * (one - sigmoid)
            else:
                h[lane], slope[lane] = z[lane] * sigmoid, sigmoid * (one + z[lane] * (one - sigmoid))


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def _update_utility(w, h, units, corrected, num_inputs, settings, share_A):
    """Update age, utility, mean activation of all lanes' units; `share_A` is 1 - decay^age by age."""
    num_hidden = len(h)
    keep, adapts, oldest = np.float32(1 - settings[0]), settings[1] > 0, len(share_A) - 1
    for u in range(num_hidden):
        for lane in range(LANES):
            units[0, u, lane] += np.float32(1)
            units[2, u, lane] += keep * (h[u, lane] - units[2, u, lane])
        for lane in range(LANES):
            corrected[u, lane] = share_A[min(int(units[0, u, lane]), oldest)]
        incoming = np.zeros(LANES, np.float32)
        if adapts:
            for i in range(num_inputs):
                for lane in range(LANES):
                    incoming[lane] += abs(w[u * num_inputs + i, lane])
        for lane in range(LANES):
            size = incoming[lane] / np.float32(num_inputs) if adapts else np.float32(1)
            mean = units[2, u, lane] / corrected[u, lane] if adapts else np.float32(0)
            distance = abs(h[u, lane] - mean)
            new = abs(w[num_hidden * num_inputs + num_hidden + u, lane]) * distance / size
            units[1, u, lane] += keep * (new - units[1, u, lane])
            corrected[u, lane] = units[1, u, lane] / corrected[u, lane]


@njit(cache=True, nogil=True, error_model="numpy")
def units_due(age_H, budget_S, run, rates_S, maturity_S, most, settings, chance):
    """Return how many units of a run's layer are replaced now, as in `continual_backprop._fall_due`.

    Args:
        most: largest result.
        chance: the random number for the accrual `bernoulli`.
    """
    eligible = 0
    for u in range(len(age_H)):
        eligible += age_H[u] > maturity_S[run]
    if settings[2] == 2:  # bernoulli
        expected = eligible * rates_S[run]
        due = math.floor(expected) if expected >= 1 else int(eligible > 0 and chance <= expected)
        return min(due, most)
    accrues = eligible if settings[2] == 1 else len(age_H) * (eligible > 0)
    budget_S[run] += accrues * rates_S[run]
    due = min(math.floor(budget_S[run]), eligible, most)
    budget_S[run] -= due
    return due


@njit(cache=True, nogil=True, error_model="numpy")
def _replace(w, adam, units, corrected, lane, maturity, k, numbers, settings, num_inputs):
    """Replace the eligible unit of lowest utility in a lane by the k-th candidate; in a tie the lowest index."""
    num_hidden, chosen = units.shape[1], -1
    for u in range(num_hidden):
        if units[0, u, lane] > maturity and (chosen < 0 or corrected[u, lane] < corrected[chosen, lane]):
            chosen = u
    bound, bias, outgoing = (
        np.float32(settings[3]),
        num_hidden * num_inputs + chosen,
        (num_inputs + 1) * num_hidden + chosen,
    )
    for i in range(num_inputs):
        w[chosen * num_inputs + i, lane] = numbers[k * num_inputs + i] * (np.float32(2) * bound) - bound
        adam[:, chosen * num_inputs + i, lane] = 0
    w[bias, lane] = w[outgoing, lane] = 0
    adam[:, bias, lane] = 0
    adam[:, outgoing, lane] = 0
    units[:, chosen, lane] = 0
