"""Which units generate-and-test replaces: an operator of its own, for the answer among equals depends on the device.

Dead units tie at utility 0. The reference asks torch.topk for the least useful of the eligible units, and which of
equals that returns is an accident of its partial sort, for that number of candidates and winners. The CPU kernel asks
the same question, so that runs on a CPU are the reference's event by event. It reads how many are due; elsewhere that
would stop the device and make shapes depend on data, so there a stable sort takes the lowest index.

Dimensions: S seeds, F units of the layer, R units that may be replaced in one step.
"""

import torch
from torch import Tensor

# torch.library.custom_op would do the same with less to write, but its kernels load torch's compiler when first
# called: most of a second for each worker that never compiles.
_LIBRARY = torch.library.Library("lop", "DEF")
_LIBRARY.define("least_useful(Tensor utility, Tensor eligible, Tensor num_due, int max_due) -> Tensor")


def least_useful(utility_SF: Tensor, eligible_SF: Tensor, num_due_S: Tensor, max_due: int) -> Tensor:
    """Units by rising utility, (S, R) int64, R = `max_due`; of a row the first `num_due_S` count, and are eligible."""
    units_SR: Tensor = torch.ops.lop.least_useful(utility_SF, eligible_SF, num_due_S, max_due)
    return units_SR


def lowest_first(utility_SF: Tensor, eligible_SF: Tensor, num_due_S: Tensor, max_due: int) -> Tensor:
    """On any device: among equals the unit of lowest index."""
    return torch.where(eligible_SF, utility_SF, torch.inf).argsort(dim=1, stable=True)[:, :max_due].clone()


def as_topk_does(utility_SF: Tensor, eligible_SF: Tensor, num_due_S: Tensor, max_due: int) -> Tensor:
    """On a CPU: among equals the unit that torch.topk returns to the reference."""
    units_SR = torch.arange(max_due).repeat(len(utility_SF), 1)
    for seed, num_due in enumerate(num_due_S.int().tolist()):
        if num_due:
            candidates = eligible_SF[seed].nonzero()[:, 0]
            due = candidates[(-utility_SF[seed, candidates]).topk(num_due).indices]
            # The rest of the row is not looked at, but must not name a unit twice.
            others = torch.ones_like(eligible_SF[seed]).index_fill_(0, due, False).nonzero()[:, 0]
            units_SR[seed] = torch.cat([due, others])[:max_due]
    return units_SR


def _shape(utility_SF: Tensor, eligible_SF: Tensor, num_due_S: Tensor, max_due: int) -> Tensor:
    return utility_SF.new_empty(len(utility_SF), max_due, dtype=torch.long)


_LIBRARY.impl("least_useful", lowest_first, "CompositeExplicitAutograd")
_LIBRARY.impl("least_useful", as_topk_does, "CPU")
torch.library.register_fake("lop::least_useful", _shape, lib=_LIBRARY)
