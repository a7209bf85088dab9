from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import labelgan
from labelgan.core.errors import CheckpointError, ConfigError, DataError, RefusedError
from labelgan.core.files import read_json, sha256_file
from labelgan.data.check.integrity import check_cohort
from labelgan.data.check.seen import sealed_model
from labelgan.data.export.write import EXPORTERS
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.prepare.case import from_unit
from labelgan.gan.inputs.compose import Conditions
from labelgan.gan.inputs.mask_channel import decode_mask
from labelgan.gan.sample import BLOCK, Generator, sample_cohort
from labelgan.gan.train import train_generator
from tiny import folder_bytes, tell_hashes, tiny_config

NUM = 5


@pytest.fixture(scope="module")
def generator(tiny_run: Path) -> Generator:
    return Generator.load(tiny_run, device="cpu")


@pytest.fixture(scope="module")
def cohorts(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same five samples in every format."""
    root = tmp_path_factory.mktemp("synthetic")
    return {name: sample_cohort(tiny_run, root / name, NUM, format=name, seed=3, device="cpu") for name in EXPORTERS}


def test_samples_are_labelled_slices(generator):
    samples = generator.sample(NUM, seed=3)
    assert samples.images_NCHW.shape == (NUM, 2, 32, 32)
    assert samples.images_NCHW.dtype == np.float32
    assert np.isfinite(samples.images_NCHW).all()
    assert samples.masks_NHW.shape == (NUM, 32, 32)
    assert samples.masks_NHW.dtype == np.uint8
    assert set(np.unique(samples.masks_NHW)) <= {0, 1}
    assert samples.indices == tuple(range(NUM))
    assert np.isnan(samples.critic_scores).all()


@pytest.mark.parametrize(("start", "count"), [(0, 1), (3, 4), (BLOCK - 1, 2), (BLOCK, 1), (13, 7)])
def test_sample_i_is_the_same_whatever_else_is_drawn(generator, start, count):
    every = generator.sample(20, seed=5)
    some = generator.sample(count, seed=5, start=start)
    assert some.indices == tuple(range(start, start + count))
    assert np.array_equal(some.images_NCHW, every.images_NCHW[start : start + count])
    assert np.array_equal(some.masks_NHW, every.masks_NHW[start : start + count])


def test_sampling_does_not_hang_on_torchs_own_randomness_or_move_it(generator):
    torch.manual_seed(1)
    one = generator.sample(3, seed=5)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    torch.manual_seed(99)
    assert np.array_equal(generator.sample(3, seed=5).images_NCHW, one.images_NCHW)


def test_seeds_and_indices_give_different_slices(generator):
    images = np.concatenate([generator.sample(3 * BLOCK, seed=seed).images_NCHW for seed in (0, 1)])
    assert len(np.unique(images.reshape(6 * BLOCK, -1), axis=0)) == 6 * BLOCK


def test_keep_best_takes_the_critics_choice_of_every_group(generator, tiny_run):
    every, best = generator.sample(12, seed=2), generator.sample(3, seed=2, keep_best=0.25)
    # the critic's own numbers, over raw slices in one go
    fresh = Generator.load(tiny_run, device="cpu")
    with torch.no_grad():
        raw = torch.cat([fresh._block(2, block) for block in range(2)])[:12]
        scores = fresh._judge(raw).reshape(3, 4)
    np.testing.assert_allclose(from_unit(raw[:, :-1]).numpy(), every.images_NCHW, rtol=1e-5, atol=1e-6)
    assert np.array_equal(decode_mask(raw[:, -1]).numpy(), every.masks_NHW)
    chosen = scores.argmax(dim=1).tolist()
    assert best.indices == tuple(4 * group + choice for group, choice in enumerate(chosen))
    np.testing.assert_allclose(best.critic_scores, scores.max(dim=1).values.numpy(), rtol=1e-4, atol=1e-6)
    assert np.array_equal(best.images_NCHW, every.images_NCHW[list(best.indices)])
    # and one of them alone is the same one
    assert generator.sample(1, seed=2, start=2, keep_best=0.25).indices == best.indices[2:]


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(generator, share):
    with pytest.raises(ConfigError, match=r"^--keep-best: .* is not a share between 0 and 1$"):
        generator.sample(1, keep_best=share)


@pytest.mark.parametrize("name", EXPORTERS)
def test_check_accepts_every_format(cohorts, name):
    report = labelgan.check(cohorts[name])
    assert report.cohort.layout == EXPORTERS[name].layout
    assert [str(problem) for problem in report.errors] == []
    assert report.cohort.slices_only
    assert len(report.cohort.cases) == NUM
    assert len(report.cohort.cases[0].images) == 2
    assert all(case.mask is not None for case in report.cohort.cases)


@pytest.mark.parametrize("name", EXPORTERS)
def test_every_case_is_its_own_patient_and_holds_the_sample(cohorts, generator, name):
    """Slices of a generator share no patient; masks are those that were drawn, whatever the format."""
    cases = sorted(labelgan.read_cohort(cohorts[name]).cases, key=lambda case: case.id)
    assert len({case.patient for case in cases}) == NUM
    samples = generator.sample(NUM, seed=3)
    for case, mask_HW in zip(cases, samples.masks_NHW, strict=True):
        volume = case.load_mask()
        assert volume is not None
        assert np.array_equal(volume.data[:, :, 0], mask_HW.T)


def niftis(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.nii.gz"))


@pytest.mark.parametrize("name", ["wmh", "bids", "nnunet"])
def test_headers_are_fresh_and_geometry_is_true(cohorts, generator, name):
    thickness, row, column = generator.manifest["spacing_mm"]
    paths = niftis(cohorts[name])
    assert len(paths) == 3 * NUM
    for path in paths:
        image = nib.load(path)
        assert isinstance(image, nib.Nifti1Image)
        assert image.shape == (32, 32, 1)
        np.testing.assert_allclose(image.header.get_zooms(), (column, row, thickness), rtol=1e-6)
        assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
        for code in ("qform_code", "sform_code"):
            assert int(image.header[code]) == 1
        for field in ("descrip", "aux_file", "db_name", "intent_name"):
            assert bytes(image.header[field].item()) == b"", field
        assert not image.header.extensions


@pytest.mark.parametrize(
    ("name", "pattern", "dtype"),
    [
        ("wmh", "**/wmh.nii.gz", np.float32),
        ("bids", "derivatives/**/*_mask.nii.gz", np.uint8),
        ("nnunet", "labelsTr/*.nii.gz", np.uint8),
    ],
)
def test_masks_are_binary_and_of_the_type_their_scorer_wants(cohorts, name, pattern, dtype):
    masks = list(cohorts[name].glob(pattern))
    assert len(masks) == NUM
    for path in masks:
        stored = np.asanyarray(nib.load(path).dataobj)  # pyright: ignore
        assert stored.dtype == dtype
        assert set(np.unique(stored)) <= {0, 1}


def test_intensities_are_on_the_scale_of_the_training_scans(cohorts, generator):
    samples = generator.sample(NUM, seed=3)
    for number, folder in enumerate(sorted((cohorts["wmh"] / "synthetic").iterdir())):
        for channel, name in enumerate(generator.channels):
            stored = np.asanyarray(nib.load(folder / "pre" / f"{name}.nii.gz").dataobj)  # pyright: ignore
            scale = generator.manifest["intensity"][name]
            expected = np.maximum(samples.images_NCHW[number, channel] * scale["sd"] + scale["mean"], 0).T[:, :, None]
            assert stored.dtype == np.float32
            np.testing.assert_allclose(stored, expected, rtol=1e-4, atol=1e-3)
            assert stored.min() >= 0


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_manifest_tells_every_sample_and_its_generator(cohorts, generator, tiny_run, name):
    manifest = json.loads((cohorts[name] / "manifest.json").read_text())
    assert manifest["kind"] == "synthetic-slices"
    assert manifest["layout"] == EXPORTERS[name].layout
    assert manifest["seed"] == 3
    assert [(entry["id"], entry["seed"], entry["index"]) for entry in manifest["samples"]] == [
        (f"syn{i:06d}", 3, i) for i in range(NUM)
    ]
    masks = generator.sample(NUM, seed=3).masks_NHW
    assert [entry["lesion_voxels"] for entry in manifest["samples"]] == masks.sum(axis=(1, 2)).tolist()
    origin = manifest["generator"]
    assert origin["sha256"] == sha256_file(tiny_run / "generator.safetensors")
    # what the leak guard needs
    assert origin["training_cases"] == generator.manifest["training_cases"]
    assert all(case["hashes"].keys() == {"FLAIR", "T1"} for case in origin["training_cases"])


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_same_request_gives_the_same_bytes_in_every_file(cohorts, tiny_run, tmp_path, name):
    again = sample_cohort(tiny_run, tmp_path / "again", NUM, format=name, seed=3, device="cpu")
    first, second = folder_bytes(cohorts[name]), folder_bytes(again)
    assert first.keys() == second.keys()
    # the revision of the checkout may change between two commands
    first, second = (
        {key: value for key, value in files.items() if key != "manifest.json"} for files in (first, second)
    )
    assert first == second


def test_kept_samples_tell_the_critics_score(tiny_run, tmp_path):
    sample_cohort(tiny_run, tmp_path / "best", 2, format="npz", keep_best=0.5, device="cpu")
    manifest = json.loads((tmp_path / "best" / "manifest.json").read_text())
    assert manifest["keep_best"] == 0.5
    assert all(np.isfinite(entry["critic_score"]) for entry in manifest["samples"])
    assert [entry["index"] // 2 for entry in manifest["samples"]] == [0, 1]


def test_an_output_folder_in_the_way_is_refused_and_left_alone(tiny_run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(DataError, match=rf"{name}: (is not empty|is a file); name another folder"):
            sample_cohort(tiny_run, tmp_path / name, 1)
    assert folder_bytes(tmp_path) == {"file": b"mine", "full/mine.txt": b"mine"}
    (tmp_path / "empty").mkdir()
    sample_cohort(tiny_run, tmp_path / "empty", 1, device="cpu")
    assert (tmp_path / "empty" / "manifest.json").is_file()


def test_a_failure_on_the_way_leaves_nothing(tiny_run, tmp_path):
    def stop(done: int, total: int, text: str) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_cohort(tiny_run, tmp_path / "out", 4, device="cpu", report=stop)
    assert list(tmp_path.iterdir()) == []


def test_wrong_requests_are_named_before_any_work(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^--format dicom: unknown format; one of wmh, bids, nnunet, monai, png, npz$"
    ):
        sample_cohort("absent", tmp_path / "out", 1, format="dicom")
    with pytest.raises(ConfigError, match=r"^--num 0: at least one sample is needed$"):
        sample_cohort("absent", tmp_path / "out", 0)
    with pytest.raises(CheckpointError, match=r"^absent: there is no such run folder; `labelgan train --out` makes"):
        sample_cohort("absent", tmp_path / "out", 1)


def changed_run(tiny_run: Path, folder: Path, **changes) -> Path:
    shutil.copytree(tiny_run, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(sealed_model(manifest | changes)))
    return folder


def test_a_collapsed_generator_is_refused_unless_forced(tiny_run, tmp_path):
    run = changed_run(tiny_run, tmp_path / "run", collapsed=True, diversity=0.0123)
    with pytest.raises(
        RefusedError, match=r"run: the generator has collapsed: its samples differ 0\.012 times as much"
    ) as caught:
        sample_cohort(run, tmp_path / "out", 1)
    assert caught.value.exit_code == 3
    assert not (tmp_path / "out").exists()
    sample_cohort(run, tmp_path / "out", 1, force=True, device="cpu")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["generator"]["collapsed"] is True


@pytest.mark.parametrize("status", ["training", "failed"])
def test_an_unfinished_run_is_refused_even_when_forced(tiny_run, tmp_path, status):
    run = changed_run(tiny_run, tmp_path / "run", status=status)
    with pytest.raises(CheckpointError, match=rf"its training is not complete \(status: {status}\)"):
        Generator.load(run, force=True)


def test_weights_of_another_network_are_refused(tiny_run, tmp_path):
    run = changed_run(tiny_run, tmp_path / "run")
    shutil.copy(run / "critic.safetensors", run / "generator.safetensors")
    tell_hashes(run)
    with pytest.raises(
        CheckpointError, match=r"generator\.safetensors: tensor '.*' is (missing|not one of this network)"
    ):
        Generator.load(run)


def test_formats_that_cannot_hold_the_channels_say_so(tiny_run, tmp_path):
    manifest = json.loads((tiny_run / "manifest.json").read_text())
    intensity = {"DWI": manifest["intensity"]["T1"], "T1": manifest["intensity"]["T1"]}
    run = changed_run(tiny_run, tmp_path / "run", channels=["DWI", "T1"], intensity=intensity, site_intensity={})
    for name in ("wmh", "bids"):
        with pytest.raises(
            ConfigError, match=rf"--format {name}: holds FLAIR and T1, not DWI, T1; use nnunet, png or npz"
        ):
            sample_cohort(run, tmp_path / name, 1, format=name, device="cpu")
    sample_cohort(run, tmp_path / "nnunet", 1, format="nnunet", device="cpu")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nnunet", "run"]


# Samples that a judge leaves out


def without_the_third(images_NCHW: np.ndarray, masks_NHW: np.ndarray) -> list[str]:
    """Drops the third sample that it ever sees."""
    reasons = [""] * len(images_NCHW)
    reasons[2] = "third"
    return reasons


def test_a_judge_leaves_out_samples_and_others_take_their_place(tiny_run, tmp_path):
    out = sample_cohort(tiny_run, tmp_path / "kept", NUM, format="npz", seed=3, judge=without_the_third)
    manifest = json.loads((out / "manifest.json").read_text())
    assert [entry["index"] for entry in manifest["samples"]] == [0, 1, 3, 4, 5]
    assert manifest["audited"] == {"kept": NUM, "dropped": {"third": 1}}


def test_a_judge_who_keeps_all_changes_nothing(tiny_run, cohorts, tmp_path):
    out = sample_cohort(
        tiny_run, tmp_path / "all", NUM, format="npz", seed=3, judge=lambda images, masks: [""] * len(images)
    )
    plain, judged = folder_bytes(cohorts["npz"]), folder_bytes(out)
    told = {"manifest.json", "card.md"}  # both say that a judge has looked
    assert {name: plain[name] for name in plain.keys() - told} == {name: judged[name] for name in judged.keys() - told}
    assert b"**Left out** before writing, by limits of the training patients: none." in judged["card.md"]


def test_a_judge_who_keeps_none_is_given_up_on(tiny_run, tmp_path):
    with pytest.raises(RefusedError, match=r"of 64 samples the audit keeps 0, 2 are wanted \(bad: 64\)"):
        sample_cohort(tiny_run, tmp_path / "none", 2, judge=lambda images, masks: ["bad"] * len(images))
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def refiner(phantom_store, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("refiner") / "run"
    train_generator(phantom_store, run, tiny_config("refiner", "train.steps=1", "train.collapse_ratio=0"))
    return run


def test_samples_of_a_site_are_on_its_scale_and_say_so(refiner, phantom_store, tmp_path):
    """The phantoms' scanners have intensities some hundred times apart."""
    loaded = Generator.load(refiner)
    assert loaded.sites == ("Alpha", "Beta", "Gamma")
    means = {}
    for site in loaded.sites:
        out = sample_cohort(refiner, tmp_path / site, 4, conditions=Conditions(site=site))
        assert check_cohort(out).ok
        manifest = read_json(out / "manifest.json")
        assert manifest["asked"] == {"load": None, "height": None, "site": site}
        (case,) = (case for case in phantom_store.cases if case.site == site)
        assert manifest["intensity"]["T1"] == {"mean": case.intensity["T1"].mean, "sd": case.intensity["T1"].sd}
        means[site] = case.intensity["T1"].mean
        images = [case.load_image("T1").data for case in read_cohort(out).cases]
        brightest = float(np.mean([np.quantile(image, 0.95) for image in images]))
        assert brightest == pytest.approx(means[site] + 1.5 * case.intensity["T1"].sd, rel=0.5)
    assert len(set(means.values())) == 3


def test_a_site_that_nobody_is_from_is_named(refiner, tiny_run, tmp_path):
    with pytest.raises(ConfigError, match="--site Delta: no training patient is from this site; there are Alpha, Beta"):
        sample_cohort(refiner, tmp_path / "out", 1, conditions=Conditions(site="Delta"))
    with pytest.raises(ConfigError, match="--load, --z, --site: this model makes slices as they come"):
        sample_cohort(tiny_run, tmp_path / "out", 1, conditions=Conditions(site="Alpha"))
    assert not (tmp_path / "out").exists()
