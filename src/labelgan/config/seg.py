"""Settings of the segmenters: one frozen model per part, and what each named network changes in it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from labelgan.config.base import Config, Layer, Settings, merge
from labelgan.core.errors import ConfigError


class SegNetworkConfig(Config):
    """One member's network."""

    name: str = Field(default="li2018", description="key of seg.networks.SEGMENTERS")
    width: int = Field(
        default=64, ge=4, le=512, description="channels at the finest stage; the others keep their ratio to it"
    )
    norm: Literal["batch", "instance"] | None = Field(
        default=None, description="normalisation after each convolution; li2018 was published without"
    )
    prior: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="probability of lesion that an untrained network gives where it sees nothing; None: 0.5",
        json_schema_extra={"source": "Lin et al. 2017, section 3.3"},
    )


class SegAugmentConfig(Config):
    """Augmentation of a slice and its mask together, drawn anew each time a slice is shown."""

    flip: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="chance of a left-right flip",
        json_schema_extra={"source": "Li et al. 2018"},
    )
    rotate: float = Field(
        default=15.0,
        ge=0,
        le=180,
        description="largest rotation, degrees",
        json_schema_extra={"unit": "degrees", "source": "Li et al. 2018"},
    )
    shear: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="largest shear of columns along rows, pixels a pixel",
        json_schema_extra={"unit": "pixels a pixel", "source": "Li et al. 2018"},
    )
    zoom: tuple[float, float] = Field(
        default=(0.9, 1.1),
        description="smallest and largest magnification",
        json_schema_extra={"source": "Li et al. 2018"},
    )
    zoom_apart: bool = Field(
        default=False,
        description="draw the magnification of rows and of columns apart",
        json_schema_extra={"source": "Li et al. 2018"},
    )
    moved: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="share of the slices shown that are rotated, sheared and zoomed",
        json_schema_extra={"source": "Li et al. 2018"},
    )

    @model_validator(mode="after")
    def _zoom_in_order(self) -> Self:
        if not 0.1 <= self.zoom[0] <= self.zoom[1] <= 10:
            raise ValueError("zoom is a smallest and a largest magnification between 0.1 and 10")
        return self


class SegTrainConfig(Config):
    """The training of the members."""

    members: int = Field(
        default=3,
        ge=1,
        le=64,
        description="networks, each with a seed of its own",
        json_schema_extra={"source": "Li et al. 2018"},
    )
    epochs: int = Field(
        default=50, ge=1, description="epochs, where steps is none", json_schema_extra={"source": "Li et al. 2018"}
    )
    showings: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="times that an epoch shows every real slice; Li et al. 2018: 4, the slice, its mirror image and "
        "a moved copy of both",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        description="optimiser steps of a member; None: as epochs says",
        json_schema_extra={"unit": "steps"},
    )
    batch_size: int = Field(
        default=30, ge=1, description="slices a step", json_schema_extra={"unit": "slices", "source": "Li et al. 2018"}
    )
    lr: float = Field(
        default=2e-4, gt=0, description="learning rate of Adam", json_schema_extra={"source": "Li et al. 2018"}
    )
    schedule: Literal["constant", "cosine"] = Field(
        default="constant", description="of the learning rate; cosine: down to 0 over the steps"
    )
    loss: Literal["dice", "dice+ce"] = Field(
        default="dice", description="soft Dice, or its sum with the cross-entropy (Isensee et al. 2021)"
    )
    lesion_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="share of a batch's slices that surely hold a lesion; None: as the shuffled rounds have it",
    )
    copypaste: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the real slices that another patient's lesions are pasted into",
        json_schema_extra={"source": "Zhang et al. 2021"},
    )
    synthetic_share: float = Field(
        default=1 / 3, ge=0, le=1, description="largest share of a batch that is synthetic, where there is such data"
    )
    shuffle_synthetic_masks: bool = Field(
        default=False, description="a control: every synthetic slice gets the mask of another one"
    )
    restart_above: float = Field(
        default=0.99,
        gt=0,
        le=1,
        description="a member whose Dice loss stays above this, or at that of an empty mask, is begun again",
        json_schema_extra={"source": "Li et al. 2018"},
    )
    restart_after: int = Field(
        default=200,
        ge=1,
        description="steps on lesion batches that count as 'stays'",
        json_schema_extra={"unit": "steps"},
    )
    restarts: int = Field(default=5, ge=0, description="most new beginnings of a member")
    fit_threshold: bool = Field(
        default=False, description="choose predict.threshold on the training patients, once the members are trained"
    )
    early_step: int = Field(default=500, ge=0, description="step whose weights are kept beside the final ones; 0: none")
    seed: int = Field(default=0, ge=0, description="of every random stream")
    checkpoint_every: int = Field(
        default=200,
        ge=1,
        description="steps between checkpoints; the last two are kept",
        json_schema_extra={"unit": "steps"},
    )
    log_every: int = Field(
        default=10, ge=1, description="steps between rows of metrics.csv", json_schema_extra={"unit": "steps"}
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    devices: int = Field(
        default=1, ge=1, description="GPUs (or processes of the CPU) that share every batch evenly; a process each"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 autocast on a GPU, fp32 elsewhere; the loss is fp32 always"
    )
    threads: int = Field(default=0, ge=0, description="CPU threads; 0: torch's own choice")
    deterministic: bool = Field(default=True, description="deterministic kernels where torch has them")


class SegPredictConfig(Config):
    """From probabilities to a mask."""

    threshold: float = Field(
        default=0.45,
        gt=0,
        lt=1,
        description="a voxel above this mean probability is lesion",
        json_schema_extra={"source": "Li et al. 2018"},
    )
    emptied: float = Field(
        default=0.125,
        ge=0,
        lt=0.5,
        description="share of the slices emptied at the lower and at the upper end",
        json_schema_extra={"source": "Li et al. 2018"},
    )
    min_voxels: int = Field(
        default=0,
        ge=0,
        description="lesions (26-connected) of fewer native voxels are removed; 0: none",
        json_schema_extra={"unit": "voxels"},
    )
    flips: bool = Field(default=False, description="average over the slice and its left-right mirror image")
    early: bool = Field(default=False, description="predict with the early weights instead of the final ones")
    batch_size: int = Field(default=4, ge=1, description="slices in memory at once")
    dtype: Literal["uint8", "float32"] = Field(default="uint8", description="voxel type of the mask's file")
    probabilities: bool = Field(default=False, description="write probability.nii.gz beside the mask, float32")


class SegConfig(Config):
    """Everything that ``labelgan segment`` needs besides the data."""

    preset: str | None = Field(default=None, description="key of PRESETS")
    network: SegNetworkConfig = SegNetworkConfig()
    augment: SegAugmentConfig = SegAugmentConfig()
    train: SegTrainConfig = SegTrainConfig()
    predict: SegPredictConfig = SegPredictConfig()

    @classmethod
    def for_segmenter(cls, name: str = "li2018", settings: Settings = (), preset: str | None = None) -> SegConfig:
        """Gives a named network's settings, then a preset's, then single ones; raises ConfigError by name."""
        values = merge(*(changes for _, changes in layers(name, preset)))
        return cls.build(values, f"--network {name}").with_settings(settings)


def layers(name: str, preset: str | None = None) -> list[Layer]:
    """Gives what a network and a preset change in the defaults, in order; raises ConfigError for an unknown name."""
    if name not in RECIPES:
        raise ConfigError(f"--network {name}", f"unknown network; one of {', '.join(RECIPES)}")
    found: list[Layer] = [(f"network {name}", merge(RECIPES[name], {"network": {"name": name}}))]
    if preset is not None:
        if preset not in PRESETS:
            raise ConfigError(f"--preset {preset}", f"unknown preset; one of {', '.join(PRESETS)}")
        found.append((f"preset {preset}", {"preset": preset, **PRESETS[preset]}))
    return found


# What each network changes in the defaults. li2018's is the published training; what differs is in
# docs/results/segmenters.md.
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "li2018": {"augment": {"zoom_apart": True, "moved": 0.5}, "train": {"showings": 4}},
    "dynunet": {"network": {"width": 32, "norm": "instance"}},
    "segresnet": {"network": {"width": 16, "norm": "instance"}},
}

# What each preset changes in that; measured in docs/results/segmenters.md.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "laptop": {  # a few patients, a few minutes on one core
        "network": {"width": 8, "norm": "batch", "prior": 0.01},
        "augment": {"zoom_apart": False, "moved": 1.0},
        "train": {
            "showings": 1,
            "steps": 600,
            "batch_size": 16,
            "lr": 1e-3,
            "schedule": "cosine",
            "lesion_share": 0.5,
            "restart_above": 0.95,
            "restart_after": 60,
        },
    },
}
