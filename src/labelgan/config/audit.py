"""Settings of audits: one frozen model per part."""

from __future__ import annotations

from pydantic import Field

from labelgan.config.base import Config


class AuditDataConfig(Config):
    """Which slices are looked at, and where the work is done."""

    max_slices: int = Field(default=10_000, ge=2, description="most samples, and most training slices; a seeded draw")
    max_held_out: int = Field(default=2_000, ge=2, description="most held-out slices; a seeded draw")
    one_cohort: bool = Field(
        default=True,
        description="a patient of one name in both stores is one person; false: the stores' names are unrelated",
    )
    seed: int = Field(default=0, ge=0, description="of every random stream")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, mps")
    threads: int = Field(default=0, ge=0, description="CPU threads of torch and NumPy; 0: their own choice")


class AuditEncoderConfig(Config):
    """The small network whose features tell slices apart; it is fitted on training patients alone."""

    path: str | None = Field(
        default=None,
        description="an encoder of your own: TorchScript (.pt, .ts) or weights of an audit's encoder (.safetensors)",
    )
    side: int = Field(
        default=64,
        ge=16,
        multiple_of=16,
        description="rows and columns that it sees, pixels",
        json_schema_extra={"unit": "pixels"},
    )
    width: int = Field(default=16, ge=8, multiple_of=8, description="channels of the first convolution")
    features: int = Field(default=64, ge=4, description="length of a slice's feature vector")
    steps: int = Field(default=400, ge=1, description="optimiser steps", json_schema_extra={"unit": "steps"})
    batch_size: int = Field(default=64, ge=2, description="slices a step", json_schema_extra={"unit": "slices"})
    lr: float = Field(default=2e-3, gt=0, description="largest learning rate of Adam; it falls to 0 along a cosine")


class FidelityConfig(Config):
    """Distances between sets of slices, their sizes, and what degrades real slices for the bad anchor."""

    max_compared: int = Field(
        default=2_000, ge=10, description="most samples, and held-out slices, in distances to the training slices"
    )
    max_points: int = Field(
        default=2_000, ge=10, description="most slices a side in optimal transport, which is slow; a seeded draw"
    )
    max_pyramids: int = Field(default=1_000, ge=10, description="most slices a side of which pyramids are made")
    patches: int = Field(default=64, ge=1, description="patches a slice and pyramid level (sliced Wasserstein)")
    patch: int = Field(default=7, ge=1, description="side of a patch, pixels", json_schema_extra={"unit": "pixels"})
    projections: int = Field(
        default=256,
        ge=1,
        description="random directions (sliced Wasserstein)",
        json_schema_extra={"source": "Rabin et al. 2011"},
    )
    coarsest: int = Field(
        default=16, ge=8, description="least side of a pyramid level, pixels", json_schema_extra={"unit": "pixels"}
    )
    raw_side: int = Field(
        default=16,
        ge=2,
        description="side of a slice brought down to raw features, pixels",
        json_schema_extra={"unit": "pixels"},
    )
    kernel_blocks: int = Field(
        default=20,
        ge=2,
        description="seeded blocks of which the kernel distance is the mean",
        json_schema_extra={"source": "Bińkowski et al. 2018"},
    )
    kernel_block: int = Field(
        default=500, ge=4, description="slices a side in a block", json_schema_extra={"source": "Bińkowski et al. 2018"}
    )
    neighbours: int = Field(
        default=5,
        ge=1,
        description="k of precision, recall, density and coverage",
        json_schema_extra={"source": "Kynkäänniemi et al. 2019; Naeem et al. 2020"},
    )
    pairs: int = Field(default=500, ge=1, description="pairs of slices for MS-SSIM and the overlap of masks")
    noise: float = Field(
        default=0.5,
        gt=0,
        description="bad anchor: noise of this sd, z-score, on all scales alike",
        json_schema_extra={"unit": "z-score"},
    )
    blur: float = Field(default=0.025, gt=0, description="bad anchor: Gaussian blur, sd as a share of the width")


class PrivacyConfig(Config):
    """Copies of patients and membership inference."""

    attacked: int = Field(default=2_000, ge=2, description="most training, and most held-out, slices that are attacked")


class GateConfig(Config):
    """Limits of the gates."""

    min_spread: float = Field(
        default=0.5, ge=0, description="diversity: least spread of the samples over that of held-out slices"
    )
    max_duplicates: float = Field(
        default=0.5, ge=0, le=1, description="diversity: largest share of samples that are another sample over again"
    )
    min_agreement: float = Field(
        default=0.5, description="labels: 1 where masks fit as real ones do, 0 where they are another slice's"
    )
    max_load_shift: float = Field(
        default=1.0, ge=0, description="load: largest shift of lesion load, in units of what patients differ by"
    )
    max_outside: float = Field(
        default=0.001,
        ge=0,
        le=1,
        description="range: largest share of pixels above, or below, what training slices have; or as held-out slices",
    )
    max_copies: float = Field(default=0.05, ge=0, le=1, description="copies: largest share of samples that are copies")
    max_certain_copies: float = Field(
        default=0.0, ge=0, le=1, description="copies: largest share of samples that are all but a training slice"
    )
    min_standing: float | None = Field(
        default=None,
        description="fidelity: where distances must stand: 0 at degraded real slices, 1 at held-out; None: no gate",
    )


class AuditConfig(Config):
    """Everything that ``labelgan audit`` needs besides the data."""

    data: AuditDataConfig = AuditDataConfig()
    encoder: AuditEncoderConfig = AuditEncoderConfig()
    fidelity: FidelityConfig = FidelityConfig()
    privacy: PrivacyConfig = PrivacyConfig()
    gates: GateConfig = GateConfig()
