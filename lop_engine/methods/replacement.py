"""Selects the units that generate-and-test replaces, and draws the random numbers for new units.

The selection is a separate operator, because its result in a tie depends on the device. Dead units tie at utility 0.
The reference calls torch.topk for the least useful of the eligible units, whose result in a tie depends on its
partial sort for that number of candidates and winners. The CPU kernel makes the same call, so that runs on a CPU
replace the same units as the reference. It reads how many are due; elsewhere that would stop the device and make
shapes depend on data, so there a stable sort takes the lowest index.

Dimensions: S runs, F units of a layer, R units that may be replaced in one step, I incoming weights, N numbers a step.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from lop_engine.methods.method import Setup
from lop_engine.methods.step_numbers import UnequalNumbers
from lop_engine.streams import Stream

# torch.library.custom_op would do the same with less code, but its kernels load torch's compiler when first
# called: most of a second for each worker that never compiles.
_LIBRARY = torch.library.Library("lop", "DEF")


_LIBRARY.define("least_useful(Tensor utility, Tensor eligible, Tensor num_due, int max_due) -> Tensor")


def least_useful(utility_SF: Tensor, eligible_SF: Tensor, num_due_S: Tensor, max_due: int) -> Tensor:
    """Return units by rising utility, (S, R) int64, R = `max_due`; only the first `num_due_S` of a row are eligible."""
    units_SR: Tensor = torch.ops.lop.least_useful(utility_SF, eligible_SF, num_due_S, max_due)
    return units_SR


def lowest_first(utility_SF: Tensor, eligible_SF: Tensor, num_due_S: Tensor, max_due: int) -> Tensor:
    """Select on any device: in a tie the unit of lowest index."""
    return torch.where(eligible_SF, utility_SF, torch.inf).argsort(dim=1, stable=True)[:, :max_due].clone()


def as_topk_does(utility_SF: Tensor, eligible_SF: Tensor, num_due_S: Tensor, max_due: int) -> Tensor:
    """Select on a CPU: in a tie the unit that torch.topk returns to the reference."""
    units_SR = torch.arange(max_due).repeat(len(utility_SF), 1)
    for seed, num_due in enumerate(num_due_S.int().tolist()):
        if num_due:
            candidates = eligible_SF[seed].nonzero()[:, 0]
            due = candidates[(-utility_SF[seed, candidates]).topk(num_due).indices]
            # The rest of the row is not used, but must not contain a unit twice.
            others = torch.ones_like(eligible_SF[seed]).index_fill_(0, due, False).nonzero()[:, 0]
            units_SR[seed] = torch.cat([due, others])[:max_due]
    return units_SR


def _shape(utility_SF: Tensor, eligible_SF: Tensor, num_due_S: Tensor, max_due: int) -> Tensor:
    return utility_SF.new_empty(len(utility_SF), max_due, dtype=torch.long)


_LIBRARY.impl("least_useful", lowest_first, "CompositeExplicitAutograd")
_LIBRARY.impl("least_useful", as_topk_does, "CPU")
torch.library.register_fake("lop::least_useful", _shape, lib=_LIBRARY)


class Draws:
    """Uniform numbers in [0, 1) of a step: of the candidates of each layer in turn, then a utility of every unit, then
    one for each layer that decides whether it replaces a unit.

    A run draws as many as it would alone, whatever the highest rate of its stack.

    Args:
        rates: replacement rate of each run; it may replace R = floor(1 + rate * F) units of a layer in a step.
        with_utility: whether to draw utilities.
        with_chance: whether to draw the numbers that decide.
    """

    def __init__(self, setup: Setup, rates: Sequence[float], with_utility: bool, with_chance: bool) -> None:
        layers = setup.network.hidden_layers
        by_run = [[min(layer.outputs, int(1 + rate * layer.outputs)) for layer in layers] for rate in rates]
        self.max_replaced = [max(of_layer) for of_layer in zip(*by_run, strict=True)]
        """R of the highest rate, by layer."""
        self.limits: list[Tensor] | list[int] = self.max_replaced
        """R of each run, by layer."""

        def sizes(counts: Sequence[int]) -> list[int]:
            incoming = [count * layer.fan_in for count, layer in zip(counts, layers, strict=True)]
            return incoming + [layer.outputs for layer in layers] * with_utility + [1 for _ in layers] * with_chance

        self._first_chance = len(layers) * (1 + with_utility)

        of_runs = [sizes(counts) for counts in by_run]
        self._numbers = UnequalNumbers(setup.runs, Stream.REPLACEMENT, list(map(sum, of_runs)), Tensor.uniform_)
        self.start_epoch, self.draw = self._numbers.start_epoch, self._numbers.draw
        self.groups = self._numbers.groups
        widths, starts = sizes(self.max_replaced), [list(accumulate(of_run, initial=0)) for of_run in of_runs]
        self._columns: list[slice] | list[Tensor]
        if all(of_run == by_run[0] for of_run in by_run):
            self._columns = [slice(start, start + size) for start, size in zip(starts[0], widths, strict=False)]
        else:
            on_device = torch.tensor(by_run, dtype=torch.float64, device=setup.device)
            self.limits = list(on_device.unbind(1))
            starts_SP = torch.tensor(starts, device=setup.device)
            last = self._numbers.of_step_SN.shape[1] - 1
            self._columns = [
                (starts_SP[:, part, None] + torch.arange(size, device=setup.device)).clamp(max=last)
                for part, size in enumerate(widths)
            ]

    def candidates(self, index: int) -> Tensor:
        """Return the candidates of hidden layer `index`, (S, R, I); a run of a lower rate uses the first of them."""
        return self._part(index).unflatten(1, (self.max_replaced[index], -1))

    def utility(self, index: int) -> Tensor:
        """Return the utility of every unit of hidden layer `index`, (S, F)."""
        return self._part(len(self.max_replaced) + index)

    def chance(self, index: int) -> Tensor:
        """Return the numbers that decide whether hidden layer `index` replaces a unit, (S,)."""
        return self._part(self._first_chance + index).squeeze(1)

    def _part(self, part: int) -> Tensor:
        columns = self._columns[part]
        numbers_SN = self._numbers.of_step_SN
        return numbers_SN[:, columns] if isinstance(columns, slice) else numbers_SN.gather(1, columns)
