"""Training steps of a part for MLPs with ReLUs and cross-entropy, compiled with Numba.

The arithmetic is that of the methods' code, with a different order of summation.

Dimensions: S runs, N examples, I inputs of a layer, O its outputs, F units of a hidden layer, L hidden layers.
"""
# mypy: ignore-errors

import math

import numpy as np
from numba import njit

from lop_engine.training.fused.regression_kernel import FAST, units_due


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def train(x_SNI, y_SN, weights, biases, steps_S, replacement, losses_S, correct_S):
    """Train all runs on all examples, in order; changes the state in place and adds to losses and correct answers.

    Args:
        weights: of each layer, (S, O, I).
        biases: of each layer, (S, O).
        steps_S: (step size, weight decay) of each run, (S, 2).
        replacement: a `classifier.Replacement`.
    """
    num_runs, num_examples = y_SN.shape
    num_layers = len(weights)
    widest = 0
    for layer in range(num_layers):
        widest = max(widest, weights[layer].shape[1], weights[layer].shape[2])
    h = np.zeros((num_layers + 1, widest), np.float32)
    g = np.zeros((num_layers + 1, widest), np.float32)
    corrected = np.zeros((num_layers, widest), np.float32)
    due = np.zeros(num_layers, np.int64)
    for run in range(num_runs):
        size, decay = steps_S[run, 0], steps_S[run, 1]
        for n in range(num_examples):
            h[0, : x_SNI.shape[2]] = x_SNI[run, n]
            for layer in range(num_layers):
                is_hidden = layer + 1 < num_layers
                _forward(weights[layer][run], biases[layer][run], h[layer], h[layer + 1], is_hidden)
            num_outputs = weights[num_layers - 1].shape[1]
            losses_S[run] += _cross_entropy(h[num_layers, :num_outputs], y_SN[run, n], g[num_layers, :num_outputs])
            correct_S[run] += _argmax(h[num_layers, :num_outputs]) == y_SN[run, n]
            for layer in range(num_layers - 1, -1, -1):
                weight_OI, bias_O = weights[layer][run], biases[layer][run]
                if layer > 0:
                    _backward(weight_OI, g[layer + 1], h[layer], g[layer])
                _descend(weight_OI, bias_O, g[layer + 1], h[layer], size, decay)
            if len(replacement.rates_S):
                _generate_and_test(weights, biases, h, run, n, replacement, corrected, due)


@njit(cache=True, nogil=True, error_model="numpy")
def _generate_and_test(weights, biases, h, run, n, replacement, corrected, due):
    """Select the units to replace in all layers, then replace them layer by layer."""
    r = replacement
    for layer in range(len(weights) - 1):
        age_F = r.ages[layer][run]
        _update_utility(
            weights[layer][run], weights[layer + 1][run], h[layer + 1], age_F, r.utilities[layer][run],
            r.means[layer][run], corrected[layer], r.settings, r.share_A,
        )  # fmt: skip
        due[layer] = units_due(
            age_F, r.budgets[layer], run, r.rates_S, r.maturity_S, r.most_L[layer], r.settings, 0.0
        )  # fmt: skip
    for layer in range(len(weights) - 1):
        num_inputs, bound = weights[layer].shape[2], np.float32(r.bounds_L[layer])
        for k in range(due[layer]):
            unit = _least_useful(r.ages[layer][run], corrected[layer], r.maturity_S[run])
            first = r.first_L[layer] + k * num_inputs
            for i in range(num_inputs):
                weights[layer][run, unit, i] = r.numbers_SNK[run, n, first + i] * (np.float32(2) * bound) - bound
            biases[layer][run, unit] = 0
            weights[layer + 1][run, :, unit] = 0
            r.ages[layer][run, unit] = r.utilities[layer][run, unit] = r.means[layer][run, unit] = 0


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def _forward(weight_OI, bias_O, x_I, out_O, is_hidden):
    for o in range(weight_OI.shape[0]):
        row_I, z = weight_OI[o], bias_O[o]
        for i in range(len(row_I)):
            z += row_I[i] * x_I[i]
        # NaN passes, so that divergence is visible.
        out_O[o] = np.float32(0) if is_hidden and z <= 0 else z


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def _cross_entropy(z_O, label, g_O):
    """Return the loss of an example; writes its gradient with respect to the outputs."""
    highest = z_O[0]
    for o in range(len(z_O)):
        highest = max(highest, z_O[o])
    total = np.float32(0)
    for o in range(len(z_O)):
        g_O[o] = np.float32(math.exp(z_O[o] - highest))
        total += g_O[o]
    for o in range(len(z_O)):
        g_O[o] /= total
    g_O[label] -= np.float32(1)
    return np.float32(math.log(total)) - (z_O[label] - highest)


@njit(cache=True, nogil=True, error_model="numpy")
def _argmax(z_O):
    best = 0
    for o in range(len(z_O)):
        if z_O[o] > z_O[best]:
            best = o
    return best


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def _backward(weight_OI, g_O, h_I, below_I):
    """Compute the gradient with respect to a layer's inputs, which are ReLUs."""
    num_inputs = weight_OI.shape[1]
    for i in range(num_inputs):
        below_I[i] = 0
    for o in range(weight_OI.shape[0]):
        row_I, arriving = weight_OI[o], g_O[o]
        if arriving != 0:
            for i in range(num_inputs):
                below_I[i] += arriving * row_I[i]
    for i in range(num_inputs):
        if h_I[i] <= 0:
            below_I[i] = 0


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def _descend(weight_OI, bias_O, g_O, x_I, size, decay):
    """Take a step of SGD with weight decay."""
    for o in range(weight_OI.shape[0]):
        row_I, arriving = weight_OI[o], g_O[o]
        if arriving != 0 or decay != 0:
            for i in range(len(row_I)):
                row_I[i] -= size * (arriving * x_I[i] + decay * row_I[i])
            bias_O[o] -= size * (arriving + decay * bias_O[o])


@njit(cache=True, fastmath=FAST, nogil=True, error_model="numpy")
def _update_utility(weight_FI, next_OF, h_F, age_F, utility_F, mean_F, corrected_F, settings, share_A):
    """Update age, utility and mean activation of a layer's units; writes the bias-corrected utilities."""
    num_units, num_inputs = weight_FI.shape
    keep, adapts, oldest = np.float32(1 - settings[0]), settings[1] > 0, len(share_A) - 1
    for u in range(num_units):
        corrected_F[u] = 0
    for o in range(next_OF.shape[0]):
        row_F = next_OF[o]
        for u in range(num_units):
            corrected_F[u] += abs(row_F[u])
    for u in range(num_units):
        age_F[u] += np.float32(1)
        mean_F[u] += keep * (h_F[u] - mean_F[u])
        share = share_A[min(int(age_F[u]), oldest)]
        incoming = np.float32(0)
        if adapts:
            row_I = weight_FI[u]
            for i in range(num_inputs):
                incoming += abs(row_I[i])
        size = incoming / np.float32(num_inputs) if adapts else np.float32(1)
        mean = mean_F[u] / share if adapts else np.float32(0)
        new = corrected_F[u] / np.float32(next_OF.shape[0]) * abs(h_F[u] - mean) / size
        utility_F[u] += keep * (new - utility_F[u])
        corrected_F[u] = utility_F[u] / share


@njit(cache=True, nogil=True, error_model="numpy")
def _least_useful(age_F, corrected_F, maturity):
    """Return the eligible unit with the lowest utility; in a tie the lowest index."""
    chosen = -1
    for u in range(len(age_F)):
        if age_F[u] > maturity and (chosen < 0 or corrected_F[u] < corrected_F[chosen]):
            chosen = u
    return chosen
