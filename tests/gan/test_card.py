from __future__ import annotations

from labelgan.gan.card import generator_card
from labelgan.gan.run_folder import RunFolder
from tiny import tiny_config

MANIFEST = {
    "channels": ["FLAIR", "T1"],
    "size": [64, 96],
    "spacing_mm": [3.0, 1.234, 0.987],
    "training_cases": [
        {"id": "secret-a", "patient": "secret-p", "slices": 10, "site": "secret-site"},
        {"id": "secret-b", "patient": "secret-p", "slices": 20, "site": "secret-site"},
        {"id": "secret-c", "patient": "secret-q", "slices": 3, "site": "secret-site"},
    ],
    "parameters": {"generator": 1234567, "critic": 89},
    "steps": 4321,
    "diversity": 0.8765,
    "lesion_rate": 0.5,
    "collapsed": False,
}


def test_the_card_says_what_the_manifest_says():
    card = " ".join(generator_card(MANIFEST, tiny_config("wgan-gp")).split())
    for said in (
        "33 slices of 2 patients",
        "64×96 pixels of 1.23×0.99 mm",
        "3.00 mm apart",
        "FLAIR + T1",
        "1,234,567 + 89 parameters",
        "4,321 of 4 slices, seed 0",
        "0.876",
        "passes the diversity watch",
        "50% of 32 drawn",
        "Gulrajani et al. 2017",
        "Not for diagnosis",
    ):
        assert said in card, said


def test_a_collapsed_generator_says_so():
    assert "collapsed: do not use" in generator_card(MANIFEST | {"collapsed": True}, tiny_config())


def test_no_id_of_a_patient_case_or_site_is_told():
    assert "secret" not in generator_card(MANIFEST, tiny_config())


def test_it_begins_as_model_hubs_read_it(tiny_run):
    lines = RunFolder(tiny_run).card.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "---"
    header = dict(line.split(": ", 1) for line in lines[1 : lines.index("---", 1)])
    assert header["library_name"] == "labelgan"
    assert header["pipeline_tag"] == "unconditional-image-generation"
    assert "license" in header


def test_what_may_not_be_shared_comes_first():
    noise = generator_card(MANIFEST, tiny_config("wgan-gp"))
    composed = generator_card({**MANIFEST, "content": {"patients": 33, "phantoms": 33}}, tiny_config("refiner"))
    points = [[line for line in card.split("\n") if line.startswith("- ")] for card in (noise, composed)]
    assert points[0][0].startswith("- **May repeat patients: audit before you share.**")
    assert points[1][0].startswith("- **Shows parts of patients: share only what you may share of their scans.**")
    assert points[1][1].startswith("- **The run folder holds 33 slices of these patients**")
    assert "shows no patient" not in noise + composed
