from __future__ import annotations

import numpy as np
import pytest

from labelgan.api.audit import audit
from labelgan.core.errors import ConfigError, DataError, LeakError
from labelgan.gan.sample import Generator


@pytest.mark.parametrize("more", [{}, {"held_out": "b", "exclude": ["P001"]}])
def test_held_out_patients_are_named_in_one_way(more, tmp_path):
    with pytest.raises(ConfigError, match="--held-out: give either a store"):
        audit("a", "b", tmp_path / "out", **more)


def test_an_unknown_setting_is_named(phantom_store, tmp_path):
    with pytest.raises(ConfigError, match=r"unknown setting 'gates\.speed'"):
        audit("a", phantom_store.path, tmp_path / "out", exclude=["P001"], settings=["gates.speed=1"])


SETTINGS = (
    *("encoder.side=16", "encoder.width=8", "encoder.features=8", "encoder.steps=3", "encoder.batch_size=8"),
    *("fidelity.projections=16", "fidelity.patches=8", "fidelity.pairs=20", "fidelity.kernel_blocks=3"),
)


@pytest.fixture(scope="module")
def held_out_run(phantom_store, tmp_path_factory):
    """A run and samples of a generator of P002 and P003 alone."""
    from labelgan.gan.sample import sample_cohort
    from labelgan.gan.train import train_generator
    from tiny import tiny_config

    folder = tmp_path_factory.mktemp("held out")
    config = tiny_config("r3gan", "train.collapse_ratio=0", "train.steps=2")
    run = train_generator(phantom_store, folder / "run", config, exclude=["P001"]).run
    return run, sample_cohort(run, folder / "samples", 12, format="npz")


def test_a_segmenter_and_the_critic_are_asked_where_they_are_given(
    held_out_run, phantom_store, tiny_segmenter, tmp_path
):
    run, samples = held_out_run
    report = audit(
        samples,
        phantom_store.path,
        tmp_path / "out",
        exclude=["P001"],
        segmenter=tiny_segmenter,
        generator=run,
        settings=SETTINGS,
        device="cpu",
    )
    found = {finding.name: finding for finding in report.findings}
    assert found["label.segmenter.dice"].good is not None
    auc = found["membership.critic"].value
    assert auc is not None
    assert 0 <= auc <= 1
    assert found["membership.critic"].extra["other_patients"] == 1
    assert {"label.segmenter.recall", "membership.critic"} <= set(found)
    for card in (samples / "card.md", run / "card.md"):
        assert "| AUC of membership inference by the critic's score |" in card.read_text(encoding="utf-8")


def test_a_segmenter_of_held_out_patients_is_refused(phantom_cohort, phantom_store, tiny_segmenter, tmp_path):
    with pytest.raises(LeakError, match="P002"):
        audit(phantom_cohort, phantom_store.path, tmp_path / "out", exclude=["P002"], segmenter=tiny_segmenter)
    assert not (tmp_path / "out").exists()


def test_only_the_samples_own_generator_is_asked(held_out_run, tiny_run, phantom_store):
    with pytest.raises(DataError, match="is not the generator of the samples"):
        audit(held_out_run[1], phantom_store.path, "out", exclude=["P001"], generator=tiny_run)


def test_critic_scores_do_not_depend_on_the_batch_and_rank_as_its_own(tiny_run):
    generator = Generator.load(tiny_run, device="cpu")
    samples = generator.sample(11, keep_best=0.5)
    scores = generator.critic_scores(samples.images_NCHW, samples.masks_NHW)
    assert np.isfinite(scores).all()
    alone = [generator.critic_scores(samples.images_NCHW[[row]], samples.masks_NHW[[row]])[0] for row in range(11)]
    np.testing.assert_allclose(alone, scores, rtol=1e-4, atol=1e-5)
