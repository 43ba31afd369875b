"""Descriptions of the metrics, in display order. `lop_engine.metrics` defines them."""

from collections.abc import Iterable

from lop_engine.experiment.components import HIDDEN_UNITS, Metric, Need, Scale

LABELS = frozenset[Need]({"labels"})
_CODE = "lop_engine.metrics"


def _percent(
    name: str,
    title: str,
    code: str,
    takes: tuple[str, ...],
    *,
    sentence: str,
    source: str = "",
    needs: Iterable[Need] = (),
    from_zero: bool = True,
    least_span: float = 1,
    layer: int = 0,
) -> Metric:
    return Metric(
        name=name,
        title=title,
        sentence=sentence,
        source=source,
        needs=frozenset(needs),
        code=f"{_CODE}.{code}",
        takes=takes,
        settings=(layer,) if layer else (),
        layer=layer,
        unit="%",
        scale="percent",
        from_zero=from_zero,
        least_span=least_span,
    )


def _rank(
    name: str, title: str, *, sentence: str, source: str, least_span: float = 5, scale: Scale = "linear", layer: int = 0
) -> Metric:
    """Describe a function of a hidden layer's singular values, by default of the last one's."""
    return Metric(
        name=f"{name}_{layer}" if layer else name,
        title=title,
        sentence=sentence,
        source=source,
        needs=HIDDEN_UNITS,
        code=f"{_CODE}.ranks:{name}",
        layer=layer,
        takes=("spectrum",),
        least=0,
        scale=scale,
        least_span=least_span,
    )


_RANKS = {
    "rank": ("rank", "Number of singular values above the rounding error", "dohare2024loss"),
    "effective_rank": (
        "effective rank",
        "Exponential of the entropy of the normalised singular values",
        "roy2007effective",
    ),
    "approximate_rank": (
        "approximate rank",
        "Number of singular values whose squares make up 99 % of the sum of squares",
        "dohare2024loss",
    ),
    "stable_rank": ("stable rank", "Number of singular values that make up 99 % of their sum", "dohare2024loss"),
}
"""By name: title, definition and source."""

METRICS = (
    _percent(
        "train_accuracy",
        "train accuracy",
        "scores:train_accuracy",
        ("batch_scores",),
        sentence="Mean accuracy on the epoch's batches, each before its update.",
        source="dohare2024loss",
        needs=LABELS,
        from_zero=False,
        least_span=10,
    ),
    _percent(
        "test_accuracy",
        "test accuracy",
        "scores:test_accuracy",
        ("forward", "params", "test_inputs", "test_targets"),
        sentence="Mean accuracy on the task's test examples.",
        source="dohare2024loss",
        needs={"labels", "test set"},
        from_zero=False,
        least_span=10,
    ),
    Metric(
        name="curvature",
        title="curvature",
        sentence="Change of the loss's gradient in the input after a small step of the input in a random direction.",
        source="dohare2024loss",
        code=f"{_CODE}.curvature:on_inputs",
        takes=("itself",),
        least=0,
        cost_in_epochs=8,
        scale="log",
    ),
    Metric(
        name="weight_magnitude",
        title="weight magnitude",
        sentence="Mean absolute value of the weights and biases.",
        source="dohare2024loss",
        code=f"{_CODE}.weights:weight_magnitude",
        takes=("params",),
        least=0,
        least_span=0.01,
    ),
    _percent(
        "dormant_proportion",
        "dormant units",
        "units:dormant_proportion",
        ("hidden",),
        sentence="Share of hidden units whose mean absolute activation is below 0.01.",
        source="dohare2024loss",
        needs=HIDDEN_UNITS,
    ),
    _rank(
        "effective_rank",
        "effective rank",
        sentence="Exponential of the entropy of the normalised singular values (last hidden layer).",
        source="roy2007effective",
    ),
    _rank(
        "stable_rank",
        "stable rank",
        sentence="Number of singular values that make up 99 % of their sum (last hidden layer).",
        source="dohare2024loss",
    ),
    _rank(
        "nuclear_frobenius_ratio",
        "nuclear / Frobenius norm",
        sentence="Nuclear norm of the last hidden layer's activations over their Frobenius norm.",
        source="dohare2024loss",
        least_span=1,
    ),
    _rank(
        "frobenius_spectral_ratio",
        "squared Frobenius / spectral norm",
        sentence="Squared Frobenius norm of the last hidden layer's activations over their squared spectral norm.",
        source="rudelson2007sampling",
        least_span=1,
    ),
    _rank(
        "srank",
        "srank",
        sentence="Feature rank of Kumar et al.; always equal to stable_rank.",
        source="kumar2021implicit",
    ),
    _percent(
        "tau_dormant_proportion",
        "tau-dormant units",
        "units:tau_dormant_proportion",
        ("hidden",),
        sentence="Share of hidden units whose mean absolute activation is at most 0.025 of their layer's mean.",
        source="sokar2023dormant",
        needs=HIDDEN_UNITS,
    ),
    _percent(
        "dead_proportion",
        "dead units",
        "units:dead_proportion",
        ("hidden",),
        sentence="Share of hidden units that are zero on the whole batch.",
        source="lyle2023understanding",
        needs=HIDDEN_UNITS,
    ),
    Metric(
        name="gradient_norm",
        title="gradient norm",
        sentence="Norm of the gradient of the loss with respect to the weights.",
        source="abbas2023loss",
        code=f"{_CODE}.weights:gradient_norm",
        takes=("forward", "params", "loss", "first_inputs", "first_targets"),
        least=0,
        scale="log",
    ),
    *(
        _percent(
            f"dormant_proportion_{layer}",
            f"dormant units, layer {layer}",
            "units:layer_dormant_proportion",
            ("hidden",),
            sentence=f"Share of dormant units in hidden layer {layer}.",
            source="dohare2024loss",
            needs=HIDDEN_UNITS,
            layer=layer,
        )
        for layer in range(1, 6)
    ),
    *(
        _rank(name, title, sentence=f"{what} (last hidden layer).", source=source)
        for name, (title, what, source) in _RANKS.items()
        if name in ("rank", "approximate_rank")
    ),
    *(
        _rank(name, f"{title}, layer {layer}", sentence=f"{what} (hidden layer {layer}).", source=source, layer=layer)
        for name, (title, what, source) in _RANKS.items()
        for layer in range(1, 4)
    ),
    *(
        _percent(
            f"dead_proportion_{layer}",
            f"dead units, layer {layer}",
            "units:layer_dead_proportion",
            ("hidden",),
            sentence=f"Share of units in hidden layer {layer} that are zero on the whole batch.",
            source="lyle2023understanding",
            needs=HIDDEN_UNITS,
            layer=layer,
        )
        for layer in range(1, 4)
    ),
    _percent(
        "online_accuracy",
        "online accuracy",
        "scores:train_accuracy",
        ("batch_scores",),
        sentence="Mean accuracy of a task's examples, each before the update on it; for problems that show them once.",
        source="dohare2024loss",
        needs=LABELS,
        from_zero=False,
        least_span=10,
    ),
    Metric(
        name="train_loss",
        title="train loss",
        sentence="Mean loss of the epoch's batches, each before its update.",
        code=f"{_CODE}.scores:train_loss",
        takes=("batch_losses",),
        better="lower",
    ),
    Metric(
        name="squared_error",
        title="squared error",
        sentence="Mean squared error of the examples, each before its update.",
        source="dohare2024loss",
        needs=frozenset({"squared error"}),
        code=f"{_CODE}.scores:squared_error",
        takes=("batch_losses",),
        least=0,
        better="lower",
    ),
)
