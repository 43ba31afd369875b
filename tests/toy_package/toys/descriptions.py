"""Descriptions of the toys, without torch."""

from dataclasses import replace

from pydantic import Field

from lop_engine.experiment.components import Method, Metric, Problem
from lop_engine.experiment.fields import Fields, Int, Proportion


class Toy(Fields):
    toy_inputs: Int = Field(5, ge=1, description="Numbers per example.")
    toy_examples: Int = Field(60, ge=1, description="Examples per task.")


TOY_REGRESSION = Problem(
    name="toy_regression",
    title="toy regression",
    sentence="Fit a random function of a few numbers, example by example; it changes with every task.",
    fields=Toy,
    code="toys.regression:ToyRegression",
    headline="toy_rmse",
    network="mlp",
    metrics=("toy_rmse", "weight_magnitude", "dormant_proportion"),
    defaults={"num_showings": 1, "mini_batch_size": 1},
    examples_per_task=lambda spec: spec.toy_examples,
    x_unit="examples",
)

TOY_STREAM = Problem(
    name="toy_stream",
    title="toy stream",
    sentence="Tell two half-spaces of points apart in one pass; they change with every task.",
    fields=Toy,
    provides=frozenset({"labels"}),
    code="toys.stream:ToyStream",
    headline="train_accuracy",
    network="mlp",
    metrics=("train_accuracy", "train_loss", "effective_rank"),
    defaults={"num_showings": 1, "mini_batch_size": 4},
    examples_per_task=lambda spec: spec.toy_examples,
)


class Long(Toy):
    toy_part: Int = Field(24, ge=1, description="Examples of a part.")


TOY_LONG = replace(
    TOY_STREAM,
    name="toy_long",
    title="toy stream in parts",
    fields=Long,
    code="toys.stream:ToyLong",
    metrics=("train_accuracy", "train_loss", "effective_rank", "dead_proportion", "weight_magnitude"),
    examples_per_part=lambda spec: spec.toy_part,
    start_metrics=("effective_rank", "dead_proportion"),
    start_examples=30,
)

TOY_RMSE = Metric(
    name="toy_rmse",
    title="online error",
    sentence="Root of the mean squared error of an epoch's steps, each before its update.",
    code="toys.metrics:toy_rmse",
    takes=("batch_losses",),
    better="lower",
)


class ToyDecay(Fields):
    toy_rate: Proportion = Field(0.01, description="Share by which the weights shrink in a step.")


TOY_DECAY = Method(
    name="toy_decay",
    title="toy decay",
    sentence="Shrink the weights after every step.",
    fields=ToyDecay,
    colour="#AA3377",
    code="toys.methods:ToyDecay",
)
