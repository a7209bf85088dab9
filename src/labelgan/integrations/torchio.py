"""A cohort, real or synthetic, as TorchIO subjects; needs the extra ``torchio``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from labelgan.core.errors import ConfigError
from labelgan.data.case import Cohort
from labelgan.data.reading.read import read_mask, read_volume
from labelgan.data.volume import ImageRef

if TYPE_CHECKING:
    import numpy as np
    import torchio


def torchio_subjects(cohort: str | Path | Cohort) -> torchio.SubjectsDataset:
    """Gives one subject a case, its files read when they are first asked for.

    A subject has an image under each channel's name, ``label`` (0, 1 lesion, 2 other pathology) where there is a mask,
    and ``id``, ``patient`` and ``synthetic``. Any layout that LabelGAN reads will do.

    Args:
        cohort: a cohort, or its folder.

    Raises:
        ConfigError: TorchIO is not installed.
        DataError: the folder holds no cohort.

    Example:
        >>> subjects = torchio_subjects("synthetic")  # doctest: +SKIP
        >>> subjects[0]["FLAIR"].spacing  # doctest: +SKIP
    """
    try:
        import torchio
    except ImportError:
        raise ConfigError("torchio_subjects", "needs TorchIO: pip install 'labelgan[torchio]'") from None
    cohort = cohort if isinstance(cohort, Cohort) else Cohort.load(cohort)
    subjects = []
    for case in cohort:
        images: dict[str, torchio.Image] = {
            name: torchio.ScalarImage(ref.path, reader=functools.partial(_read, ref=ref))
            for name, ref in case.images.items()
        }
        if case.mask is not None:
            images["label"] = torchio.LabelMap(
                case.mask.path, reader=functools.partial(_read, ref=case.mask, mask=True)
            )
        synthetic = cohort.manifest.is_synthetic
        subjects.append(torchio.Subject(id=case.id, patient=case.patient, synthetic=synthetic, **images))
    return torchio.SubjectsDataset(subjects)


def _read(path: Path, ref: ImageRef, mask: bool = False) -> tuple[torch.Tensor, np.ndarray]:
    """LabelGAN's own reader in the form that TorchIO calls: (1, X, Y, Z) and the affine."""
    volume = read_mask(ref) if mask else read_volume(ref)
    return torch.from_numpy(volume.data.copy())[None], volume.affine
