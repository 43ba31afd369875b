"""The methods by name, and the module of each: the registry. It needs no torch, so that a spec can be checked without.

A method's module has one function::

    def build(spec: Spec, net: Net, params: Params, optimizer: Optimizer, seeds: Sequence[int]) -> Mechanism

docs/adding-a-method.md walks through adding one.
"""

METHODS = {
    "bp": "lop_engine.learners.backprop",
    "l2": "lop_engine.learners.backprop",
    "snp": "lop_engine.learners.shrink_and_perturb",
    "cbp": "lop_engine.learners.continual_backprop",
    "cbp2": "lop_engine.learners.layered_continual_backprop",
    "linear": "lop_engine.learners.backprop",
}
