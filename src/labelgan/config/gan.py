"""Settings of the generators: one frozen model per part, and what each named model changes in it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from labelgan.config.base import Config, Layer, Settings, merge
from labelgan.core.errors import ConfigError


class NetworkConfig(Config):
    """Generator and critic."""

    family: str = Field(default="r3gan", description="key of gan.networks.NETWORKS")
    latent_dim: int = Field(default=64, ge=1, le=4096, description="length of z")
    latent: Literal["normal", "uniform"] = Field(default="normal", description="z ~ N(0, 1) or U(-1, 1)")
    width: int = Field(
        default=32, ge=4, le=1024, description="channels at the finest stage; doubled at each coarser one"
    )
    max_width: int = Field(default=256, ge=4, le=4096, description="most channels a stage may have")
    blocks: int = Field(default=1, ge=1, le=8, description="residual blocks a stage (r3gan)")
    group_width: int = Field(default=16, ge=1, description="channels a group of the grouped 3×3 convolutions (r3gan)")
    expansion: float = Field(default=2.0, gt=0, description="inner over outer channels of a residual block (r3gan)")
    patch: Literal[1, 2, 4] = Field(
        default=1,
        description="pixels a side that the finest stage handles at once (r3gan)",
        json_schema_extra={"unit": "pixels"},
    )
    hidden: int = Field(default=1200, ge=8, description="units a hidden layer (fully connected)")
    critic_width: int = Field(default=20, ge=4, le=1024, description="channels at the critic's finest stage (refiner)")
    noise_maps: int = Field(default=2, ge=1, le=16, description="noise channels beside the composed slice (refiner)")


class ObjectiveConfig(Config):
    """The adversarial game."""

    name: str = Field(default="r3gan", description="key of gan.objectives.OBJECTIVES")
    critic_steps: int = Field(
        default=1,
        ge=1,
        description="critic steps per generator step",
        json_schema_extra={"unit": "steps", "source": "Arjovsky et al. 2017, algorithm 1"},
    )
    penalty: float = Field(
        default=2.0,
        ge=0,
        description="λ of the gradient penalty (wgan-gp) or γ of R1 and R2 (r3gan)",
        json_schema_extra={"source": "Gulrajani et al. 2017, equation 3; Huang et al. 2024, equations 3 and 4"},
    )
    penalty_every: int = Field(
        default=1, ge=1, description="R1 and R2 every K-th critic step, weighted by K (lazy regularisation)"
    )
    clip: float = Field(
        default=0.01,
        gt=0,
        description="critic weights are clipped to ±clip (wgan)",
        json_schema_extra={"source": "Arjovsky et al. 2017, algorithm 1"},
    )
    saturating: bool = Field(
        default=False,
        description="the minimax generator loss of 2014 instead of the non-saturating one (gan, dcgan)",
        json_schema_extra={"source": "Goodfellow et al. 2014, section 3"},
    )
    keep: float = Field(
        default=0.0, ge=0, description="weight of the mean absolute change of the composed images (refiner)"
    )


class OptimizerConfig(Config):
    """One optimizer for each side, with the same settings."""

    name: Literal["adam", "rmsprop", "sgd"] = Field(
        default="adam", description="the rule by which gradients become steps"
    )
    generator_lr: float = Field(default=8e-4, gt=0, description="learning rate of the generator")
    critic_lr: float = Field(default=8e-4, gt=0, description="learning rate of the critic")
    beta1: float = Field(default=0.0, ge=0, lt=1, description="Adam's first decay")
    # A short memory bounds a sudden step to lr / sqrt(1 - beta2), 4.5 lr here; with 0.99 and 1.5e-3 the unnormalised
    # generator was seen to saturate for good in one step.
    beta2: float = Field(default=0.95, ge=0, lt=1, description="Adam's second decay")
    momentum: float = Field(default=0.5, ge=0, lt=1, description="momentum of SGD")


class MaskChannelConfig(Config):
    """Coding of the lesion mask as a channel that the critic can learn from."""

    encoding: Literal["distance", "hard", "gaussian"] = Field(
        default="distance",
        description="distance: signed distance to the lesion edge; hard: ±1; gaussian: ±N(0.5, 0.1) of 2019",
    )
    reach_px: int = Field(
        default=3,
        ge=1,
        le=16,
        description="distance at which the signed distance is cut off, pixels",
        json_schema_extra={"unit": "pixels"},
    )


class AugmentConfig(Config):
    """Augmentation of real and synthetic slices alike, before the critic sees them."""

    policy: tuple[Literal["flip", "translate", "cutout", "intensity"], ...] = Field(
        default=("flip", "translate", "intensity"),
        description="keys of gan.augment.AUGMENTATIONS, in order",
        json_schema_extra={"source": "Zhao et al. 2020"},
    )
    translate: float = Field(default=0.0625, ge=0, le=0.5, description="largest shift, share of the side")
    cutout: float = Field(default=0.3, ge=0, le=0.9, description="side of the square cut out, share of the side")
    brightness: float = Field(
        default=0.1, ge=0, le=1, description="largest shift of an image channel (never of the mask)"
    )
    contrast: float = Field(
        default=0.15, ge=0, lt=1, description="largest relative change of contrast (never of the mask)"
    )


class ContentConfig(Config):
    """Sources and rules by which a refining generator composes slices (refiner)."""

    phantoms: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of anatomies that are phantoms'; the others are patients'",
    )
    lesion_free: float = Field(default=0.3, ge=0, le=1, description="share of the samples that get no lesion")
    lesioned: float = Field(
        default=0.2, ge=0, le=1, description="share of the patients' anatomies that have lesions of their own"
    )
    rotate: float = Field(
        default=25.0,
        ge=0,
        le=180,
        description="largest turn of a lesion, degrees",
        json_schema_extra={"unit": "degrees"},
    )
    zoom: tuple[float, float] = Field(default=(0.8, 1.25), description="smallest and largest magnification of a lesion")
    stretch: float = Field(default=0.25, ge=0, le=1, description="largest log ratio by which a lesion's sides change")
    bend: float = Field(default=0.03, ge=0, le=0.5, description="sd of the bending of its outline, share of the side")
    shift: float = Field(default=0.12, ge=0, le=1, description="sd of its move from its place, share of the side")
    contrast: float = Field(default=0.4, ge=0, le=2, description="sd of the log factor on a lesion's contrast")
    style: float = Field(
        default=0.6, ge=0, le=2, description="strength of the random tone curve, bias field and noise of each sample"
    )
    keep: int = Field(default=512, ge=1, description="most lesion slices, and most others, that the run keeps")
    stock: int = Field(default=768, ge=2, description="slices composed beforehand that the training draws from")


class LoopConfig(Config):
    """The training loop."""

    steps: int = Field(default=5000, ge=1, description="generator steps", json_schema_extra={"unit": "steps"})
    batch_size: int = Field(default=16, ge=1, description="slices a step", json_schema_extra={"unit": "slices"})
    seed: int = Field(default=0, ge=0, description="of every random stream")
    ema_images: float = Field(
        default=5000.0,
        ge=0,
        description="half-life of the averaged generator, in images; 0: none",
        json_schema_extra={"unit": "images", "source": "Karras et al. 2018"},
    )
    lesion_fraction: float | None = Field(
        default=0.5, ge=0, le=1, description="share of lesion slices in a batch; None: as they come"
    )
    drop_other_pathology: bool = Field(default=True, description="leave out slices with other pathology (label 2)")
    checkpoint_every: int = Field(
        default=500,
        ge=1,
        description="steps between checkpoints; the last two are kept",
        json_schema_extra={"unit": "steps"},
    )
    sample_every: int = Field(
        default=500, ge=1, description="steps between sample grids", json_schema_extra={"unit": "steps"}
    )
    log_every: int = Field(
        default=10, ge=1, description="steps between rows of metrics.csv", json_schema_extra={"unit": "steps"}
    )
    collapse_ratio: float = Field(
        default=0.05,
        ge=0,
        description="a generator whose samples differ less than this share of what real slices do has collapsed",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    devices: int = Field(
        default=1, ge=1, description="GPUs (or processes of the CPU) that share every batch evenly; a process each"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 autocast on a GPU, fp32 elsewhere"
    )
    threads: int = Field(default=0, ge=0, description="CPU threads; 0: torch's own choice")
    deterministic: bool = Field(default=True, description="deterministic kernels where torch has them")


class GanConfig(Config):
    """Everything that ``labelgan train`` needs besides the data."""

    model: str = Field(default="r3gan", description="key of MODELS")
    preset: str | None = Field(default=None, description="key of PRESETS")
    network: NetworkConfig = NetworkConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    mask: MaskChannelConfig = MaskChannelConfig()
    augment: AugmentConfig = AugmentConfig()
    content: ContentConfig = ContentConfig()
    train: LoopConfig = LoopConfig()

    @classmethod
    def for_model(cls, model: str, preset: str | None = None, settings: Settings = ()) -> GanConfig:
        """Gives a named model's settings, then a preset's, then single ones; raises ConfigError by name.

        The model ``auto`` is the one that helped segmenters most in docs/results/league.md.
        """
        values = merge(*(changes for _, changes in layers(model, preset)))
        return cls.build(values, f"--model {model}").with_settings(settings)


def layers(model: str, preset: str | None = None) -> list[Layer]:
    """Gives what a model and a preset change in the defaults, in order; raises ConfigError for an unknown name."""
    model = AUTO_MODEL if model == "auto" else model
    if model not in MODELS:
        raise ConfigError(f"--model {model}", f"unknown model; one of auto, {', '.join(MODELS)}")
    found: list[Layer] = [(f"model {model}", {"model": model, **MODELS[model]})]
    if preset is not None:
        if preset not in PRESETS:
            raise ConfigError(f"--preset {preset}", f"unknown preset; one of {', '.join(PRESETS)}")
        if model not in PRESETS[preset]:
            raise ConfigError(f"--preset {preset}", f"is not for --model {model}; for {', '.join(PRESETS[preset])}")
        found.append((f"preset {preset}", {"preset": preset, **PRESETS[preset][model]}))
    return found


_PLAIN = {"train": {"ema_images": 0.0, "batch_size": 64}, "augment": {"policy": ()}}
_DCGAN_NETWORK = {"family": "dcgan", "latent_dim": 100, "latent": "uniform", "width": 128, "max_width": 1024}

AUTO_MODEL = "refiner"

# What each model changes in the defaults: its paper's settings where the paper speaks and they work on slices. What is
# not the paper's is listed in docs/guides/generators.md.
MODELS: dict[str, dict[str, Any]] = {
    "r3gan": {},
    # Ours: phantoms and training slices with recombined lesions, made real by a small refiner in R3GAN's game. The
    # penalty is that of a critic of patches, whose gradients at one slice add up over it.
    "refiner": {
        "network": {"family": "refiner", "latent_dim": 8, "width": 24, "critic_width": 32, "blocks": 2},
        "objective": {"penalty": 0.06, "penalty_every": 4, "keep": 2.0},
        "optimizer": {"generator_lr": 4e-4, "critic_lr": 4e-4},
        "augment": {"policy": ("flip", "translate")},
        "train": {"steps": 1000, "ema_images": 1000.0},
    },
    # Goodfellow et al. 2014: SGD with momentum, dropout, maxout. Its authors' rate for digits, 0.1, explodes on slices;
    # and a critic that learns as fast as the generator wins at once.
    "gan": {
        "network": {"family": "fully-connected", "latent_dim": 100, "latent": "uniform", "hidden": 1200},
        "objective": {"name": "gan"},
        "optimizer": {"name": "sgd", "generator_lr": 0.02, "critic_lr": 0.002, "momentum": 0.5},
        "augment": {"policy": ()},
        "train": {"ema_images": 0.0, "batch_size": 100},
    },
    "dcgan": {  # Radford et al. 2016, section 4
        "network": _DCGAN_NETWORK,
        "objective": {"name": "dcgan"},
        "optimizer": {"generator_lr": 2e-4, "critic_lr": 2e-4, "beta1": 0.5, "beta2": 0.999},
        "augment": {"policy": ()},
        "train": {"ema_images": 0.0, "batch_size": 128},
    },
    "wgan": {  # Arjovsky et al. 2017, algorithm 1
        **_PLAIN,
        "network": {**_DCGAN_NETWORK, "latent": "normal"},
        "objective": {"name": "wgan", "critic_steps": 5, "clip": 0.01},
        "optimizer": {"name": "rmsprop", "generator_lr": 5e-5, "critic_lr": 5e-5},
    },
    "wgan-gp": {  # Gulrajani et al. 2017, algorithm 1
        **_PLAIN,
        "network": {**_DCGAN_NETWORK, "family": "dcgan-nonorm", "latent_dim": 128, "latent": "normal"},
        "objective": {"name": "wgan-gp", "critic_steps": 5, "penalty": 10.0},
        "optimizer": {"generator_lr": 1e-4, "critic_lr": 1e-4, "beta1": 0.0, "beta2": 0.9},
    },
}

_SMALL_DCGAN = {"network": {"width": 24, "max_width": 192}, "train": {"batch_size": 16}}

PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "uned2019": {  # Cabrera, Gamazo, Izaguirre 2019: the network and settings that the report stopped at
        "wgan-gp": {
            "network": {"family": "uned2019", "latent_dim": 128, "latent": "normal"},
            "objective": {"critic_steps": 8, "penalty": 10.0},
            "optimizer": {"generator_lr": 1e-4, "critic_lr": 1e-4, "beta1": 0.5, "beta2": 0.9},
            "mask": {"encoding": "gaussian"},
            "train": {"batch_size": 8},
        }
    },
    "laptop": {  # narrower networks and smaller batches, for a few steps a second on two cores at 64×64
        "r3gan": {
            "network": {"width": 48, "max_width": 192, "patch": 2},
            "objective": {"penalty_every": 4},
        },
        "refiner": {"network": {"width": 16, "critic_width": 20}, "train": {"steps": 400, "batch_size": 12}},
        "gan": {"network": {"hidden": 512}, "train": {"batch_size": 32}},
        "dcgan": _SMALL_DCGAN,
        "wgan": _SMALL_DCGAN,
        "wgan-gp": _SMALL_DCGAN,
    },
}
