"""A scan is known in another form, and two patients' scans are not taken for one; prints travel as text."""

from __future__ import annotations

import numpy as np
import pytest

from bench.experiments.fingerprints import DISGUISES, Scan, regained, strangers
from labelgan.core.rng import generator_for
from labelgan.data.check.fingerprint import (
    LEAST_SLICES,
    REFUSE_AT,
    WARN_AT,
    alike_between,
    alike_pairs,
    fingerprint,
    fingerprints,
    from_text,
    share_of_equal_bits,
    to_text,
    unmoved,
)
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.volume import Volume

# Not found of any scan, or not of phantoms of 48 pixels and 12 slices (docs/results/fingerprints.md has real ones).
NOT_FOUND = {"rotated by 10 degrees", "ranks in place of values"}
TOO_COARSE = {
    "blurred by 1.5 pixels",
    "half the resolution",
    "every second slice",
    "10 pixels off each side",
    "moved by 12 pixels",
    "rotated by 5 degrees",
}


@pytest.fixture(scope="module")
def scans(phantom_cohort) -> list[Volume]:
    """FLAIR of three phantoms, axes in RAS order."""
    return [case.load_image("FLAIR") for case in read_cohort(phantom_cohort).cases]


@pytest.fixture(scope="module")
def prints(scans) -> list[np.ndarray]:
    return [entry for entry in map(fingerprint, scans) if entry is not None]


def disguised(scan: Volume, name: str) -> np.ndarray:
    image = np.ascontiguousarray(DISGUISES[name](scan.data, generator_for(0, name)), dtype=np.float32)
    made = fingerprint(Volume(image, scan.affine))
    assert made is not None
    return made


@pytest.mark.parametrize("name", sorted(set(DISGUISES) - NOT_FOUND - TOO_COARSE))
def test_a_scan_is_known_in_disguise_and_by_what_travels(scans, prints, name):
    made = disguised(scans[0], name)
    assert share_of_equal_bits(prints[0], made) >= REFUSE_AT
    assert share_of_equal_bits(made, unmoved(prints[0])) >= REFUSE_AT
    assert share_of_equal_bits(made, prints[1]) < WARN_AT


@pytest.mark.parametrize("name", ["mirrored left to right", "mirrored top to bottom", "turned by 90 degrees"])
def test_mirrored_and_turned_scans_have_the_same_bits_elsewhere(scans, prints, name):
    assert share_of_equal_bits(prints[0], disguised(scans[0], name)) == 1


@pytest.mark.parametrize("name", sorted(NOT_FOUND))
def test_what_is_not_found_is_no_more_alike_than_strangers_may_be(scans, prints, name):
    assert share_of_equal_bits(prints[0], disguised(scans[0], name)) < REFUSE_AT


def test_phantoms_are_strangers(prints):
    patients = ["a", "b", "c"]
    assert alike_pairs([{"FLAIR": entry} for entry in prints], patients) == []


def test_noise_agrees_in_half_of_its_bits():
    rng = np.random.default_rng(0)
    noise = [fingerprint(Volume(rng.normal(size=(40, 40, 20)), np.eye(4))) for _ in range(2)]
    assert noise[0] is not None
    assert noise[1] is not None
    # the best of 2 × 15 × 2 × 16 comparisons lies above a half
    assert 0.5 < share_of_equal_bits(noise[0], noise[1]) < 0.65


def test_storage_order_and_header_scale_do_not_matter(scans, prints):
    scan = scans[0]
    stored = Volume(scan.data[::-1].transpose(2, 0, 1), scan.affine @ np.array(
        [[0, -1, 0, scan.data.shape[0] - 1], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float
    ))  # fmt: skip
    again = fingerprint(stored)
    assert again is not None
    assert np.array_equal(again, prints[0])


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((20, 20, 20)),
        np.full((20, 20, 20), np.nan),
        np.random.default_rng(0).normal(size=(30, 30, LEAST_SLICES - 1)),
        np.pad(np.random.default_rng(0).normal(size=(30, 30, 2)), ((0, 0), (0, 0), (4, 4))),
    ],
    ids=["one value", "NaN", "few slices", "few slices that are not empty"],
)
def test_of_too_little_nothing_is_made(data):
    assert fingerprint(Volume(data, np.eye(4))) is None
    assert fingerprints({"T1": Volume(data, np.eye(4))}) == {}


def test_pairs_of_two_patients_are_found_in_their_likest_channel(scans, prints):
    twin = disguised(scans[1], "noise of 10 %")
    cases = [{"FLAIR": prints[0]}, {"T1": prints[0], "FLAIR": prints[1]}, {}, {"FLAIR": twin}]
    (pair,) = alike_pairs(cases, ["a", "b", "c", "d"])
    assert (pair.first, pair.second, pair.channel) == (1, 3, "FLAIR")
    assert pair.share == pytest.approx(share_of_equal_bits(twin, prints[1]))
    assert alike_pairs(cases, ["a", "b", "c", "b"]) == []  # one patient, two cases
    assert alike_pairs(cases, ["a", "b", "c", "d"], at_least=1.0) == []
    assert alike_pairs([], []) == []


def test_channels_of_other_names_are_compared_where_no_name_is_shared(prints):
    ours, travelled = [{"FLAIR": prints[0], "T1": prints[1]}], unmoved(prints[0])
    (pair,) = alike_between(ours, [{"FLAIR": prints[2]}, {"0": travelled}])
    assert (pair.first, pair.second, pair.channel, pair.share) == (0, 1, "FLAIR", 1.0)
    # another channel of the same case may look like it
    assert alike_between(ours, [{"T1": travelled}]) == []


def test_only_the_unmoved_print_travels(prints):
    text = to_text(prints[0])
    assert len(text) == len("lg1:") + 172  # 128 bytes
    assert np.array_equal(from_text(text), unmoved(prints[0]))
    assert to_text(from_text(text)) == text


@pytest.mark.parametrize("text", ["", "lg1:", "lg1:AAAA", "lg1:!", "lg2:" + "A" * 170 + "==", "A" * 170 + "=="])
def test_other_text_is_refused(text):
    with pytest.raises(ValueError, match="is no fingerprint"):
        from_text(text)


def test_bits_are_the_same_for_ever():
    """Prints that were written by another version must stay comparable."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, count) for count in (36, 40, 20)], indexing="ij")
    image = np.where(x**2 + y**2 + z**2 < 0.8, 100 + 30 * np.sin(7 * x + 2) * np.cos(5 * y) + 20 * np.sin(9 * z + x), 0)
    made = fingerprint(Volume(image, np.eye(4)))
    assert made is not None
    before = (
        "lg1:1Fglnd18pdyUyD4f8JqzVTiww3b4LSZe3T19AKJkU4VD20ByA9tAMh1UA+tV9V463b5Az0WcBt4GU2Ogluh9zdRYJZ3dfKXclMg+"
        "H/Cas1U4sMN2+C0mXt09fQCiZFOFQ9tAcgPbQDIdVAPrVfVeOt2+QM9FnAbeBlNjoJbofc0="
    )
    # rounding may tip a bit whose projection is next to nothing
    assert np.unpackbits(np.bitwise_xor(unmoved(made), from_text(before))).mean() < 0.01


def test_little_of_a_pattern_is_regained_from_its_bits(phantom_cohort, scans, prints):
    people = [Scan("c", str(n), "FLAIR", scan, made) for n, (scan, made) in enumerate(zip(scans, prints, strict=True))]
    plain, guessed, _ = regained(people).mean(0)
    assert 0.2 < plain < 0.4  # 512 signs of 3,072 numbers: sqrt(2 m / (2 m + pi n)) = 0.31
    assert guessed < 0.8
    assert len(strangers(people)) == 3
