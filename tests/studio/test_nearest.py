from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from labelgan.core.errors import DataError
from labelgan.data.manifests import NO_MANIFEST
from labelgan.studio.nearest import NearestSearch
from labelgan.studio.session import Session


def write_pixels(path, pixels, affine):
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in (("pixels", pixels), ("affine", affine)):
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.ascontiguousarray(array))
            archive.writestr(f"{name}.npy", stream.getvalue())


def test_a_planted_copy_is_found_mirrored_and_all(phantom_store, samples):
    row = int(np.argmax(phantom_store.index["brain_voxels"]))
    image_CHW = phantom_store.images[row].astype(np.float32)
    path = samples / "images" / "syn000002.npz"
    with np.load(path) as old:
        write_pixels(path, np.moveaxis(image_CHW[..., ::-1], 0, -1), old["affine"])
    session = Session([phantom_store.path, samples])
    session.fill()
    entry = next(e for e in session.index.slices.values() if e.case.id == "syn000002")
    found = session.nearest.find(entry)
    case = phantom_store.case_of(row)
    assert (found.slice.case.id, found.slice.z) == (case.id, row - case.first)
    assert found.likeness > 0.98
    assert found.flip
    assert found.of_training
    assert session.nearest.find(entry) is found


def test_real_slices_have_no_nearest(session, scan):
    with pytest.raises(DataError, match="is a real slice"):
        session.nearest.find(scan)


def test_nothing_real_to_compare_with_is_told(samples):
    session = Session([samples])
    session.fill()
    with pytest.raises(DataError, match="no real slice of its channels"):
        NearestSearch(session.index).find(next(iter(session.index.slices.values())))


def test_without_the_training_cases_all_real_slices_are_searched(session, sample, monkeypatch):
    monkeypatch.setattr("labelgan.studio.real.read_manifest", lambda *_: NO_MANIFEST)
    found = session.nearest.find(sample)
    assert not found.of_training
    assert not found.slice.case.synthetic
