"""Descriptions of the problems."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from lop_engine.errors import ConfigError
from lop_engine.experiment.components import Problem
from lop_engine.experiment.fields import Fields, Flag, Int, Proportion


class ContinualImageNet(Fields):
    image_shape: ClassVar = (3, 32, 32)
    num_classes: Int = Field(2, ge=2, description="Classes per task.")
    new_heads: Flag = Field(True, description="Reset the output layer to zero at the start of every task.")
    dataset: str = Field("imagenet32", description="imagenet32, synthetic, or the path of a data set.")
    dataset_classes: Int = Field(1000, ge=2, description="Classes of the synthetic data set.")
    dataset_seed: Int = Field(0, ge=0, description="Seed of the synthetic data set.")
    dataset_sha256: str = Field("", description="Checksum of the data set; other images are refused.")
    class_order: str = Field(
        "",
        description="A table of class orders, a row per seed (.npy, CSV, JSON, the reference's pickle); "
        "by default random.",
    )
    class_order_sha256: str = Field("", description="Checksum of that table.")
    train_images: Int = Field(0, ge=0, description="Training images per class; 0 means the data set's split.")
    test_images: Int = Field(0, ge=0, description="Test images per class; 0 means the data set's split.")
    normalisation: Literal["auto", "none", "scaled"] = Field(
        "auto", description="scaled maps grey levels 0..255 to -1..1; auto does this for uint8 images only."
    )


CONTINUAL_IMAGENET = Problem(
    name="continual_imagenet",
    title="Continual ImageNet",
    sentence="Tell two classes of ImageNet (32 x 32 pixels) apart; every task has another two.",
    source="dohare2024loss",
    fields=ContinualImageNet,
    provides=frozenset({"labels", "images", "test set"}),
    code="lop_engine.problems.continual_imagenet:ContinualImageNet",
    headline="test_accuracy",
    network="conv_net",
    metrics=(
        "train_accuracy",
        "test_accuracy",
        "curvature",
        "weight_magnitude",
        "dormant_proportion",
        "effective_rank",
        "stable_rank",
    ),
    charts=(
        "test_accuracy",
        "curvature",
        "dormant_proportion",
        "effective_rank",
        "stable_rank",
        "weight_magnitude",
    ),
    together=("test_accuracy", "train_accuracy"),
    examples_per_task=lambda spec: spec.num_classes * spec.train_images,
    test_examples_per_task=lambda spec: spec.num_classes * spec.test_images,
    shapes=lambda spec: ((3, 32, 32), spec.num_classes),
    data="lop_engine.datasets:look_at_images",
    claims="lop_engine.reproduction.continual_imagenet",
)


class PermutedMnist(Fields):
    image_shape: ClassVar = (1, 28, 28)
    num_classes: ClassVar = 10
    change_after: Int = Field(60_000, ge=1, description="Examples per task; images repeat if there are fewer.")
    num_examples: Int = Field(
        0, ge=0, description="Total number of examples, instead of num_tasks; a task has change_after of them."
    )
    dataset: str = Field(
        "synthetic", description="mnist, synthetic (generated digits), or the path of a data set of grey images."
    )
    dataset_seed: Int = Field(0, ge=0, description="Seed of the generated digits.")
    dataset_sha256: str = Field("", description="Checksum of the data set; other images are refused.")


def _tasks_of_examples(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert ``num_examples`` to ``num_tasks``. Raises ConfigError if a file gives both."""
    total, of_task = values.get("num_examples"), values.get("change_after", 60_000)
    if not total or not all(isinstance(one, int | float) and one > 0 for one in (total, of_task)):
        return dict(values)
    if "num_tasks" in values:
        raise ConfigError("num_tasks and num_examples both say how long a run is; give one of them (num_examples=0)")
    return {key: value for key, value in values.items() if key != "num_examples"} | {
        "num_tasks": max(1, int(total / of_task))
    }


_LAYERS = range(1, 4)
_OF_LAYERS = ("rank", "effective_rank", "approximate_rank", "stable_rank", "dead_proportion")
_AT_START = (*_OF_LAYERS, *(f"{name}_{layer}" for name in _OF_LAYERS for layer in _LAYERS))

PERMUTED_MNIST = Problem(
    name="permuted_mnist",
    title="Online Permuted MNIST",
    sentence="Classify MNIST's digits one by one; every task has a new permutation of the pixels.",
    source="dohare2024loss",
    fields=PermutedMnist,
    provides=frozenset({"labels"}),
    code="lop_engine.problems.permuted_mnist:PermutedMnist",
    headline="online_accuracy",
    network="mlp",
    metrics=("online_accuracy", "train_loss", "weight_magnitude", *_AT_START),
    charts=(
        "online_accuracy",
        "dead_proportion",
        "effective_rank",
        "approximate_rank",
        "stable_rank",
        "weight_magnitude",
    ),
    defaults={"num_tasks": 800, "num_showings": 1, "mini_batch_size": 1, "num_features": 2000},
    derived=_tasks_of_examples,
    examples_per_task="change_after",
    examples_per_part=200,
    start_metrics=_AT_START,
    start_examples=2000,
    shapes=lambda spec: ((784,), 10),
    data="lop_engine.datasets:look_at_digits",
    claims="lop_engine.reproduction.permuted_mnist",
)


class SlowlyChangingRegression(Fields):
    num_inputs: Int = Field(20, ge=1, le=1000, description="Bits per example.")
    num_flipping_bits: Int = Field(
        15, ge=0, validate_default=True, description="Number of these bits that change only between tasks."
    )
    flip_after: Int = Field(10_000, ge=1, description="Examples per task, between two changes of those bits.")
    flip_one: Flag = Field(True, description="Invert one of those bits after a task, instead of redrawing all of them.")
    num_target_features: Int = Field(100, ge=1, description="Units of the target network.")
    beta: Proportion = Field(0.7, description="Share of a target unit's inputs that must agree with its weights.")

    @field_validator("num_flipping_bits")
    @classmethod
    def _leaves_few_random_bits(cls, value: int, info: ValidationInfo) -> int:
        """Limit the random bits, because a table holds the targets of all inputs of a task."""
        num_inputs = info.data.get("num_inputs", value)
        if not 0 <= num_inputs - value <= MOST_RANDOM_BITS:
            raise PydanticCustomError(
                "num_flipping_bits",
                "should be num_inputs ({inputs}) or at most {most} less",
                {"inputs": num_inputs, "most": MOST_RANDOM_BITS},
            )
        return value


MOST_RANDOM_BITS = 12

SLOWLY_CHANGING_REGRESSION = Problem(
    name="slowly_changing_regression",
    title="Slowly-Changing Regression",
    sentence="Fit a random network of threshold units on 20 bits, 15 of which change only after each 10,000 examples.",
    source="dohare2024loss",
    fields=SlowlyChangingRegression,
    provides=frozenset({"squared error"}),
    code="lop_engine.problems.slowly_changing_regression:SlowlyChangingRegression",
    headline="squared_error",
    network="mlp",
    metrics=("squared_error", "weight_magnitude", "dead_proportion"),
    defaults={"num_showings": 1, "mini_batch_size": 1, "num_features": 5, "num_hidden_layers": 1},
    examples_per_task="flip_after",
    examples_per_part=2500,
    start_metrics=(
        "dormant_proportion",
        "tau_dormant_proportion",
        "dead_proportion",
        "effective_rank",
        "stable_rank",
        "nuclear_frobenius_ratio",
        "frobenius_spectral_ratio",
        "srank",
    ),
    start_examples=500,
    shapes=lambda spec: ((spec.num_inputs,), 1),
    x_unit="examples",
    claims="lop_engine.reproduction.slowly_changing_regression",
)

PROBLEMS = (CONTINUAL_IMAGENET, SLOWLY_CHANGING_REGRESSION, PERMUTED_MNIST)
