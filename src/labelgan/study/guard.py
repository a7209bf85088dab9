"""The last look before a prediction counts: has anything behind the segmenter seen this case?

Training refuses leaks by itself; see `seg.synthetic`. This looks from the other side, at the manifests of the very
networks that predicted, so that a test cohort, a parent generator or a folder from elsewhere cannot slip in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelgan.data.case import Case
from labelgan.core.errors import LeakError
from labelgan.seg.folder import SegmenterFolder


def require_unseen(case: Case, hashes: Mapping[str, str], segmenters: Sequence[Path]) -> None:
    """Raises LeakError, naming both files, when a network or the generator behind its data has seen a case's voxels.

    Args:
        case: that was predicted.
        hashes: channel to voxel hash, as they were read for the prediction.
        segmenters: folders of the networks that predicted it.
    """
    values = set(hashes.values())
    for folder in segmenters:
        path = SegmenterFolder(folder)
        for role, seen in _seen(path.read_manifest()):
            if not values.isdisjoint(seen["hashes"].values()):
                file = next(iter(case.images.values())).path
                raise LeakError(
                    file, f"case {case.id} is to be tested on, and {role} has seen it as {seen['id']} ({path.manifest})"
                )


def _seen(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from (("the segmenter", entry) for entry in manifest["training_cases"])
    synthetic = manifest.get("synthetic") or {}
    for key, role in (("training_cases", "its generator"), ("inherited_cases", "its generator's parent")):
        yield from ((role, entry) for entry in synthetic.get(key, []))
