"""What is wrong with a cohort as a whole, when each of its files is sound."""

from __future__ import annotations

from collections.abc import Sequence

from labelgan.data.case import Case, Cohort
from labelgan.data.layouts.detect import LAYOUTS
from labelgan.data.check.problems import CaseFacts, Problem, Severity
from labelgan.data.pseudonyms import told_path

_ONE_OF_TWO = "remove one, or leave it out (`labelgan prepare --exclude ID`)"


def other_layouts(cohort: Cohort) -> list[Problem]:
    """Layouts that were looked for later, and would have been recognised too: their cases are not read."""
    names = list(LAYOUTS)
    found = [(name, LAYOUTS[name].detect(cohort.root)) for name in names[names.index(cohort.layout) + 1 :]]
    return [
        Problem(
            None,
            cohort.root,
            f"looks like {name} too ({evidence}), and is read as {cohort.layout}: keep one layout in a folder, "
            f"or name it (--layout {name})",
            "warning",
        )
        for name, evidence in found
        if evidence is not None
    ]


def duplicate_ids(cohort: Cohort) -> list[Problem]:
    """Ids that are given twice, or differ in case alone."""
    first: dict[str, Case] = {}
    problems: list[Problem] = []
    for case in cohort.cases:
        earlier = first.setdefault(case.id.casefold(), case)  # file systems may take no notice of case
        if earlier is not case:
            refs = list(case.images.values())
            problems.append(
                Problem(
                    case.id,
                    refs[0].path if refs else None,
                    f"duplicate id: '{earlier.id}' is another case already; rename one",
                )
            )
    return problems


def duplicate_voxels(cohort: Cohort, facts: Sequence[CaseFacts]) -> list[Problem]:
    """The same voxels under two ids; told once per pair of cases, with all the channels that agree."""
    owners: dict[str, tuple[int, str]] = {}
    shared: dict[tuple[int, int], list[tuple[str, str]]] = {}
    for index, known in enumerate(facts):
        for channel, digest in known.hashes.items():
            owner, owner_channel = owners.setdefault(digest, (index, channel))
            if owner != index:
                shared.setdefault((owner, index), []).append((owner_channel, channel))
    problems: list[Problem] = []
    for (owner, index), channels in shared.items():
        first, second = cohort.cases[owner], cohort.cases[index]
        same = first.patient == second.patient
        whose = f"the same patient, {first.patient}" if same else f"patients {first.patient} and {second.patient}"
        first_file = first.images[channels[0][0]].path
        inside = first_file.relative_to(cohort.root) if first_file.is_relative_to(cohort.root) else first_file
        where = told_path(first_file) or inside.as_posix()
        which = ", ".join(b if a == b else f"{b} as its {a}" for a, b in channels)
        problems.append(
            Problem(
                second.id,
                second.images[channels[0][1]].path,
                f"same voxels as case {first.id} ({which}; {where}), under two ids of {whose}: {_ONE_OF_TWO}",
            )
        )
    return problems


def without_lesions(cohort: Cohort, facts: Sequence[CaseFacts]) -> list[Problem]:
    """A cohort in which nothing is annotated, or no annotation holds a lesion."""
    if all(case.mask is None for case in cohort.cases):
        only_test = all(case.split == "test" for case in cohort.cases)
        severity: Severity = "warning" if only_test else "error"
        where = f"look where the {cohort.layout} layout wants masks (docs/guides/own-data.md)"
        return [Problem(None, cohort.root, f"no case has a mask: {where}", severity)]
    counts = [known.lesion_voxels for known in facts if known.lesion_voxels is not None]
    if counts and not any(counts):
        return [Problem(None, cohort.root, "no mask of the cohort holds a lesion", "warning")]
    return []
