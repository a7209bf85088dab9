from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelgan.core.errors import DataError
from labelgan.data.case import Case
from labelgan.data.layouts.common import (
    as_ref,
    by_site_then_id,
    channel_name,
    channels_of,
    in_channel_order,
    listing,
    patient_names,
    safe_label,
    stem_of,
    unique_ids,
)
from labelgan.data.volume import ImageRef


def case(identifier: str, site: str | None = None, session: str | None = None, channels: tuple[str, ...] = ()) -> Case:
    images = {name: ImageRef(Path(name)) for name in channels}
    return Case(identifier, identifier, images, site=site, session=session)


def test_a_listing_is_in_order_and_leaves_out_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b", "a", ".git", "__MACOSX"):
        (tmp_path / name).mkdir()
    for name in ("2.nii", "1.nii", "._1.nii", ".DS_Store", "__MACOSX.nii"):
        (tmp_path / name).touch()
    (tmp_path / "c").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "loop").symlink_to("loop")
    folders, files = listing(tmp_path)
    assert [path.name for path in folders] == ["a", "b", "c"]
    assert [path.name for path in files] == ["1.nii", "2.nii", "loop"]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be listed: No such file") as caught:
        listing(tmp_path / "absent")
    assert caught.value.subject == str(tmp_path / "absent")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.nii.gz", "a"),
        ("a.b.NII", "a.b"),
        ("scan.TIFF", "scan"),
        ("x.npz", "x"),
        (".nii.gz", None),
        ("a.gz", None),
        ("a.nii.gz.txt", None),
        ("nii", None),
    ],
)
def test_the_name_without_its_ending(name: str, stem: str | None) -> None:
    assert stem_of(Path("folder") / name) == stem


def test_an_ending_that_was_not_asked_for_is_none() -> None:
    assert stem_of(Path("a.png"), (".nii",)) is None


def test_channels_have_one_spelling_and_one_order() -> None:
    assert [channel_name(name) for name in ("t1w", "T1", "Flair", "T2w", "pd", "DWI")] == [
        *("T1", "T1", "FLAIR", "T2", "PD", "DWI"),
    ]
    assert list(in_channel_order({"T2": 1, "T1": 2, "DWI": 3, "FLAIR": 4})) == ["FLAIR", "T1", "T2", "DWI"]
    assert channels_of([case("a", channels=("T2", "T1")), case("b", channels=("FLAIR",))]) == ("FLAIR", "T1", "T2")
    assert channels_of([]) == ()


def test_cases_are_in_order_of_site_id_and_session() -> None:
    mixed = [case("b", "B"), case("a", "B", "2"), case("a", "B", "1"), case("z", "A"), case("y")]
    ordered = by_site_then_id(mixed)
    assert [(one.site, one.id, one.session) for one in ordered] == [
        (None, "y", None),
        ("A", "z", None),
        ("B", "a", "1"),
        ("B", "a", "2"),
        ("B", "b", None),
    ]


def test_no_file_has_no_reference() -> None:
    assert as_ref(None) is None
    assert as_ref(Path("a.nii")) == ImageRef(Path("a.nii"))


def test_ids_take_only_as_many_parts_as_they_need() -> None:
    parts = [("training", "A", "1"), ("test", "A", "1"), ("training", "B", "1"), (None, None, "2"), (None, "C d", "1")]
    assert unique_ids(parts) == ["training_A_1", "test_A_1", "B_1", "2", "C_d_1"]


def test_an_id_made_of_two_parts_never_meets_one_that_was_there() -> None:
    assert unique_ids([(None, None, "2"), (None, "A", "1_2"), (None, "1", "2")]) == ["2", "A_1_2", "1_2"]


NAMES = st.sampled_from(["A", "B", "a b", "1", "2", "12"])


@given(st.lists(st.tuples(st.none() | NAMES, st.none() | NAMES, NAMES), max_size=8))
def test_ids_end_in_the_most_telling_part_and_are_alone_where_it_is(parts: list[tuple[str | None, ...]]) -> None:
    ids = unique_ids(parts)
    last = [names[-1] for names in parts]
    for identifier, names in zip(ids, parts, strict=True):
        assert identifier == names[-1] or identifier.endswith(f"_{names[-1]}")
        if [str(name).casefold() for name in last].count(str(names[-1]).casefold()) == 1:
            assert identifier == names[-1]


def test_ids_that_differ_in_case_alone_are_told_apart() -> None:
    assert unique_ids([("A", "p"), ("B", "P")]) == ["A_p", "B_P"]
    assert unique_ids([("A", "p"), ("A", "p")]) == ["A_p", "A_p"]  # nothing to tell them apart: the check does
    assert unique_ids([]) == []


@given(st.text(max_size=30))
def test_a_label_is_fit_for_an_id(text: str) -> None:
    label = safe_label(text)
    assert all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in label)
    assert safe_label(label) == label
    assert len(label) <= len(text)


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        (["p1_slice01", "p1_slice02", "p2_slice1"], ["p1", "p1", "p2"]),
        (["p1-z3", "p1_s4"], ["p1", "p1"]),
        (["img_001", "img_002"], ["img_001", "img_002"]),
        (["100_1", "100_2", "101_1"], ["100", "100", "101"]),
        (["2019_1", "2019_2"], ["2019_1", "2019_2"]),
        (["a", "b"], ["a", "b"]),
        ([], []),
    ],
)
def test_slices_of_one_patient_stay_one_patient(names: list[str], patients: list[str]) -> None:
    assert patient_names(names) == patients


def test_volumes_are_taken_for_slices_only_when_they_say_so() -> None:
    names = ["BraTS19_A_1", "BraTS19_A_2", "BraTS19_B_1", "p_slice1", "p_slice2"]
    assert patient_names(names, volumes=True) == [*names[:3], "p", "p"]
