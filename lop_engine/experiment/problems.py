"""Descriptions of the problems."""

from typing import Literal

from pydantic import Field

from lop_engine.experiment.components import Problem
from lop_engine.experiment.fields import Fields, Flag, Int


class ContinualImageNet(Fields):
    num_classes: Int = Field(2, ge=2, description="Classes of a task.")
    new_heads: Flag = Field(True, description="Reset the output layer to zero at the start of every task.")
    dataset: str = Field("imagenet32", description="imagenet32, synthetic, or the path of a data set.")
    dataset_classes: Int = Field(1000, ge=2, description="Classes of the synthetic data set.")
    dataset_seed: Int = Field(0, ge=0, description="Seed of the synthetic data set.")
    dataset_sha256: str = Field("", description="Checksum of the data set; refuses other images.")
    class_order: str = Field(
        "",
        description="A table of class orders, a row for each seed (.npy, CSV, JSON, the reference's pickle); "
        "by default random.",
    )
    class_order_sha256: str = Field("", description="Checksum of that table.")
    train_images: Int = Field(0, ge=0, description="Training images of a class; 0 means the data set's own split.")
    test_images: Int = Field(0, ge=0, description="Test images of a class; 0 means the data set's own split.")
    normalisation: Literal["auto", "none", "scaled"] = Field(
        "auto", description="scaled maps grey levels 0..255 to -1..1; auto does so for uint8 images."
    )


CONTINUAL_IMAGENET = Problem(
    name="continual_imagenet",
    title="Continual ImageNet",
    sentence="Tell two classes of ImageNet (32 x 32 pixels) apart, then the next two, thousands of times.",
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
    claims="lop_engine.reproduction.claims",
)

PROBLEMS = (CONTINUAL_IMAGENET,)
