from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelgan.audit.gates import Finding
from labelgan.audit.labels.labels import QUANTITIES, grown, labels, moved, permuted, segmenter_agreement
from labelgan.audit.slices import AuditData
from labelgan.config.audit import AuditConfig
from labelgan.core.rng import generator_for
from plants import labelled

LIMIT = 0.5


@pytest.fixture(scope="module")
def data() -> AuditData:
    return AuditData(samples=labelled("s", 6), train=labelled("t", 8), held_out=labelled("h", 4))


def found(data: AuditData, masks: np.ndarray | None = None) -> dict[str, Finding]:
    samples = data.samples if masks is None else replace(data.samples, masks_NHW=masks)
    return {finding.name: finding for finding in labels(replace(data, samples=samples), AuditConfig())}


def values(findings: dict[str, Finding], *names: str) -> list[float]:
    some = [findings[name].value for name in names]
    assert None not in some
    return [value for value in some if value is not None]


AGREEMENTS = ("label.agreement.ring", "label.agreement.edge")


def test_unseen_patients_agree_and_keep_the_load(data):
    findings = found(data)
    assert min(values(findings, *AGREEMENTS)) > 0.75
    for name in ("label.load", "label.empty"):
        assert values(findings, name)[0] <= findings[name].extra["limit"]
    for name in AGREEMENTS:
        assert findings[name].good == pytest.approx(1, abs=0.3)
        bad = findings[name].bad
        assert bad is not None
        assert bad < LIMIT


def dilated(masks: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_dilation

    return np.stack([binary_dilation(mask == 1, iterations=3) for mask in masks]).astype(np.uint8)


PLANTED = {
    "shuffled": lambda masks: masks[generator_for(1, "shuffled").permutation(len(masks))],
    "shifted down": lambda masks: np.roll(masks, 8, 1),
    "shifted right": lambda masks: np.roll(masks, 8, 2),
    "dilated": dilated,
    "nearly all empty": lambda masks: masks * (np.arange(len(masks)) % 10 == 0)[:, None, None].astype(np.uint8),
}


@pytest.mark.parametrize("fault", ["shuffled", "shifted down", "shifted right", "dilated"])
def test_spoilt_masks_do_not_agree(data, fault):
    findings = found(data, PLANTED[fault](data.samples.masks_NHW))
    assert min(values(findings, *AGREEMENTS)) < LIMIT / 2
    assert values(findings, "label.edge.FLAIR")[0] > 5 * (findings["label.edge.FLAIR"].good or 0)


@pytest.mark.parametrize(("fault", "name"), [("dilated", "label.load"), ("nearly all empty", "label.empty")])
def test_a_shifted_load_is_beyond_what_patients_differ_by(data, fault, name):
    findings = found(data, PLANTED[fault](data.samples.masks_NHW))
    assert values(findings, name)[0] > findings[name].extra["limit"]


def test_training_slices_themselves_are_at_no_distance(data):
    findings = found(replace(data, samples=data.train))
    assert values(findings, *AGREEMENTS) == pytest.approx([1, 1])
    for finding in findings.values():
        if finding.name not in AGREEMENTS:
            assert finding.value == pytest.approx(0, abs=1e-12)
            assert finding.good is not None
            assert finding.good > 0
    assert set(findings) == {
        *AGREEMENTS,
        *(f"label.{kind}.{channel}" for kind in ("ring", "edge") for channel in ("FLAIR", "T1")),
        *(f"label.{name}" for name in QUANTITIES),
    }
    for name in QUANTITIES:
        assert findings[f"label.{name}"].extra["ks"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("spoil", [moved, grown])
def test_the_more_masks_are_spoilt_the_less_they_agree(data, spoil):
    edge = [
        values(found(data, spoil(data.samples.masks_NHW, pixels)), "label.agreement.edge")[0] for pixels in (1, 2, 3)
    ]
    assert 0.95 > edge[0] > edge[1] + 0.1
    assert edge[1] > edge[2] - 0.05


def test_samples_without_lesion_are_told_as_such(data):
    findings = found(data, np.zeros_like(data.samples.masks_NHW))
    for name in (*AGREEMENTS, "label.size", "label.edge.T1"):
        assert findings[name].value is None
        assert "no lesion" in findings[name].note
    assert values(findings, "label.empty")[0] > findings["label.empty"].extra["limit"]


def test_lesions_that_do_not_show_are_not_judged(data):
    flat = generator_for(0, "flat").standard_normal(data.train.images_NCHW.shape).astype(np.float32)
    findings = found(replace(data, train=replace(data.train, images_NCHW=flat)))
    assert findings["label.agreement.edge"].value is None
    assert "do not stand out" in findings["label.agreement.edge"].note


def test_few_patients_set_no_limit(data):
    few = data.train.select(slice(0, 42))
    assert set(few.patients) == {"t0", "t1", "t2"}
    assert "limit" not in found(replace(data, train=few))["label.load"].extra


def test_dealing_gives_every_lesion_slice_the_mask_of_another(data):
    masks = data.train.masks_NHW
    given = permuted(masks, 0)
    lesion = (masks == 1).any((1, 2))
    assert np.array_equal((given == 1).any((1, 2)), lesion)
    assert not (given == masks).all((1, 2))[lesion].any()
    assert sorted(mask.tobytes() for mask in given) == sorted(mask.tobytes() for mask in masks)


def test_moving_loses_what_leaves_and_growing_adds_a_rim():
    masks = np.zeros((1, 20, 20), np.uint8)
    masks[0, [5, 15], 10] = 1
    assert np.argwhere(moved(masks)[0]).tolist() == [[13, 10]]
    assert grown(masks).sum() == 2 * 29  # lattice points in a disk of radius 3
    assert np.array_equal(grown(masks, 0), masks)


def truthful(data: AuditData) -> dict[bytes, np.ndarray]:
    return {
        image.tobytes(): mask == 1
        for part in (data.samples, data.held_out)
        for image, mask in zip(part.images_NCHW, part.masks_NHW, strict=True)
    }


def test_a_segmenter_that_knows_the_truth_agrees_with_true_masks_alone(data):
    truth = truthful(data)

    def segmenter(images: np.ndarray) -> np.ndarray:
        return np.stack([truth[image.tobytes()] for image in images]).astype(float)

    dice, recall = segmenter_agreement(data, segmenter)
    assert (dice.value, dice.good, recall.value, recall.good) == (1, 1, 1, 1)
    assert dice.bad is not None
    assert recall.bad is not None
    assert dice.bad < 0.3 > recall.bad
    degraded = replace(data, samples=replace(data.samples, masks_NHW=permuted(data.samples.masks_NHW, 5)))
    again, _ = segmenter_agreement(degraded, segmenter)
    assert again.standing is not None
    assert again.standing < 0.25


def test_a_segmenter_is_asked_in_blocks_and_gives_the_same(data):
    asked = []

    def segmenter(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return images[:, 0]

    small = segmenter_agreement(data, segmenter, block=7)
    assert max(asked) == 7
    assert segmenter_agreement(data, segmenter) == small
    nothing = segmenter_agreement(
        replace(data, samples=replace(data.samples, masks_NHW=np.zeros_like(data.samples.masks_NHW))),
        lambda images: np.zeros_like(images[:, 0]),
    )
    assert [finding.value for finding in nothing] == [None, None]
    assert "no lesion" in nothing[0].note


def test_a_segmenter_that_finds_nothing_in_held_out_patients_tells_nothing(data):
    for finding in segmenter_agreement(data, lambda images_NCHW: np.zeros(images_NCHW[:, 0].shape)):
        assert finding.value is None
        assert "finds nothing in held-out patients" in finding.note
