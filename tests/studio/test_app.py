from __future__ import annotations

import base64
import gzip
import io
import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from labelgan.data.curation import CURATION
from labelgan.studio.app import static_files
from labelgan.studio.guard import DOCUMENT_POLICY


def key_of(visitor, kind):
    return next(s["key"] for s in visitor.get("/api/overview")["sources"] if s["kind"] == kind)


def first(visitor, **query):
    asked = "&".join(f"{name}={value}" for name, value in query.items())
    return visitor.get(f"/api/slices?{asked}")["slices"][0]


def test_the_page_and_all_that_it_loads_come_from_here(visitor):
    page = visitor.ask("/").body.decode()
    assert "<script" in page
    assert "http:" not in page
    assert "https:" not in page
    assert page.count("<script") == page.count('<script type="module" src="/static/main.js"></script>') == 1
    kinds = {"main.js": "text/javascript", "studio.css": "text/css", "vendor/niivue.js": "text/javascript"}
    for name, kind in (kinds | {"vendor/NOTICE.txt": "text/plain", "icon.svg": "image/svg+xml"}).items():
        answer = visitor.ask(f"/static/{name}")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(kind)


def test_names_become_text_never_markup():
    for name, (content, _) in static_files().items():
        if name.endswith(".js") and not name.startswith("vendor/"):
            text = content.decode()
            for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "DOMParser"):
                assert danger not in text, (name, danger)


def test_the_vendored_viewer_is_the_one_that_its_notice_names():
    import hashlib

    files = static_files()
    notice = files["vendor/NOTICE.txt"][0].decode()
    assert hashlib.sha256(files["vendor/niivue.js"][0]).hexdigest() in notice
    assert "BSD-2-Clause" in notice


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/vendor/../../app.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/main.js/../../session.py",
        "/static/",
        "/static/vendor",
        "/../../../etc/passwd",
        "/api/reports/../../../etc/passwd",
    ],
)
def test_no_address_becomes_a_path(visitor, path):
    answer = visitor.ask(path)
    assert answer.status in (400, 404)
    assert b"import" not in answer.body
    assert b"root:" not in answer.body


@pytest.mark.parametrize(
    "path",
    [
        "/api/slices/{}",
        "/api/slices/{}/picture",
        "/api/slices/{}/nearest",
        "/api/cases/{}/T1.nii.gz",
        "/api/reports/{}",
        "/api/live/{}",
        "/api/live/{}/sample",
        "/api/live/{}/strip",
        "/api/blind/{}/0/0",
    ],
)
@pytest.mark.parametrize("key", ["..", "%2e%2e%2f%2e%2e", "0" * 24, "a'\"<script>".replace("<", "%3C")])
def test_made_up_keys_open_nothing(visitor, path, key):
    answer = visitor.ask(path.format(key))
    assert answer.status in (400, 404)
    assert b"Traceback" not in answer.body


def test_the_gallery_pages_through_filters(visitor):
    everything = visitor.get("/api/slices")
    assert everything["total"] > 40
    page = visitor.get("/api/slices?start=3&count=2")
    assert page["slices"] == everything["slices"][3:5]
    assert visitor.get("/api/slices?origin=synthetic")["total"] == 6
    assert visitor.get(f"/api/slices?source={key_of(visitor, 'cohort')}")["total"] == 36
    assert visitor.get("/api/slices?site=Alpha&site=Beta&lesion=with")["total"] > 0
    assert visitor.get("/api/slices?least=1e9")["slices"] == []


@pytest.mark.parametrize("query", ["least=x", "start=nan", "count=inf", "most=--"])
def test_numbers_that_are_none_are_told(visitor, query):
    answer = visitor.ask(f"/api/slices?{query}")
    assert answer.status == 400
    assert "number" in answer.json()["error"]


def test_pictures_are_pngs_without_anything_else(visitor):
    key = first(visitor, lesion="with")["key"]
    answer = visitor.ask(f"/api/slices/{key}/picture?channel=T1&side=64&marking=outline")
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    picture = Image.open(io.BytesIO(answer.body))
    assert max(picture.size) == 64
    assert picture.info == {}
    assert visitor.ask(f"/api/slices/{key}/picture?marking=blink").status == 400


def test_a_sample_is_judged_and_the_choice_stands_beside_it(visitor, samples):
    key = first(visitor, origin="synthetic")["key"]
    assert visitor.post(f"/api/slices/{key}/decision", {"decision": "reject"})["decision"] == "reject"
    assert visitor.get("/api/slices?decision=reject")["total"] == 1
    (entry,) = json.loads((samples / CURATION).read_text())["samples"].values()
    assert entry["decision"] == "reject"
    assert visitor.get(f"/api/slices/{key}")["decided"] == entry["when"]
    assert visitor.post(f"/api/slices/{key}/decision", {"decision": None})["decision"] is None
    (counts,) = [s for s in visitor.get("/api/overview")["sources"] if s["kind"] == "synthetic"]
    assert (counts["accept"], counts["reject"]) == (0, 0)


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"[" * 100_000, b"\xff"])
def test_a_body_that_is_no_object_is_told(visitor, body):
    key = first(visitor, origin="synthetic")["key"]
    answer = visitor.ask(f"/api/slices/{key}/decision", "POST", body)
    assert answer.status == 400
    assert "is not" in answer.json()["error"]


def test_changes_are_not_made_by_looking(visitor):
    key = first(visitor, origin="synthetic")["key"]
    assert visitor.ask(f"/api/slices/{key}/decision?decision=reject").status == 405
    assert visitor.get("/api/slices?decision=reject")["total"] == 0


def test_the_nearest_slice_comes_with_its_likeness(visitor):
    found = visitor.get(f"/api/slices/{first(visitor, origin='synthetic')['key']}/nearest")
    assert found["of_training"] is True
    assert found["slice"]["synthetic"] is False
    assert -1 <= found["likeness"] <= 1.001


def test_volumes_open_in_a_viewer(visitor):
    one = visitor.get("/api/cases")[0]
    answer = visitor.ask(f"/api/cases/{one['key']}/FLAIR.nii.gz")
    image = nib.Nifti1Image.from_bytes(gzip.decompress(answer.body))
    assert image.shape == (48, 48, 12)
    mask = visitor.ask(f"/api/cases/{one['key']}/mask.nii.gz").body
    assert np.asarray(nib.Nifti1Image.from_bytes(gzip.decompress(mask)).dataobj).any()
    assert visitor.ask(f"/api/cases/{one['key']}/secret.nii.gz").status == 400


def test_live_samples_come_all_at_once(visitor):
    run = key_of(visitor, "run")
    offers = visitor.get(f"/api/live/{run}")
    assert (offers["size"], offers["from_mask"]) == ([32, 32], False)
    told = visitor.get(f"/api/live/{run}/sample?seed=2&index=3&side=64")
    assert len(told["plain"]) == len(told["outlined"]) == 2
    head, _, content = told["mask"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(content).startswith(b"\x89PNG")
    assert visitor.get(f"/api/live/{run}/sample?seed=2&index=3&side=64") == told
    strip = visitor.get(f"/api/live/{run}/strip?seed=2&index=11")
    assert (strip["first"], len(strip["pictures"])) == (8, 8)
    assert visitor.ask(f"/api/live/{run}/sample?set.truncation=0.5").status == 400
    refused = visitor.ask(f"/api/live/{run}/from-mask", "POST", {"rows": ["0" * 32] * 32, "seed": 0})
    assert "it takes no mask" in refused.json()["error"]


def test_a_blinded_test_gives_nothing_away_until_it_is_over(visitor, samples):
    begun = visitor.post("/api/blind", {"source": key_of(visitor, "synthetic"), "trials": 5})
    assert set(begun) == {"key", "trials", "channels"}
    told = {}
    for trial in range(5):
        picture = visitor.ask(f"/api/blind/{begun['key']}/{trial}/0")
        assert picture.headers["content-type"] == "image/png"
        assert picture.headers["cache-control"] == "no-store"
        assert visitor.ask(f"/api/blind/{begun['key']}/{trial + 1}/0").status == 400
        told = visitor.post(f"/api/blind/{begun['key']}/answer", {"trial": trial, "answer": "real"})
        assert ("truth" in told) == (trial == 4)
    assert told["saved"] == "blind_tests.json"
    assert (samples / "blind_tests.json").is_file()
    assert visitor.ask("/api/blind", "POST", {"source": key_of(visitor, "cohort"), "trials": 5}).status == 400


def test_reports_are_sealed(tiny_study, visitor, session):
    from labelgan.studio.sources import Keys, find_sources

    keys = Keys()
    (study, *_), _ = find_sources([tiny_study.folder], keys)
    session.index.sources[study.key] = study
    answer = visitor.ask(f"/api/reports/{study.key}")
    assert answer.headers["content-security-policy"] == DOCUMENT_POLICY
    assert answer.body == (tiny_study.folder / "report.html").read_bytes()


def test_an_error_tells_no_path_of_the_package(visitor):
    answer = visitor.ask("/api/slices/nothing")
    assert answer.json() == {"error": "slice: there is no such one"}
