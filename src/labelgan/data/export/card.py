"""The dataset card of a synthetic cohort, in the form that dataset hubs read; no case or patient id is in it.

Also the place that cards, a generator's too, keep for an audit's figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelgan.core.files import write_text_atomic
from labelgan.core.words import counted

CARD = "card.md"

_BEGIN, _END = "<!-- audit: labelgan audit writes here -->", "<!-- end of audit -->"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_DECISIONS = {True: "passed", False: "failed", None: "not judged"}
_NOT_AUDITED = "Not audited yet: `labelgan audit` tells whether masks fit, and whether patients were copied."


def sharing_words(generator: Mapping[str, Any]) -> str:
    """Says whether samples of a generator may show its training patients; what must not be shared comes first.

    Args:
        generator: the manifest of a run, or the part of a synthetic cohort's manifest about its generator.
    """
    patients = len({case["patient"] for case in generator["training_cases"]})
    number = counted(patients, "training patient")
    if generator.get("content"):
        return (
            "**Shows parts of patients: share only what you may share of their scans.** Slices are composed of\n"
            f"  lesions of {number} and, unless it was trained with `content.phantoms=1`, of their heads."
        )
    return (
        f"**May repeat patients: audit before you share.** Slices are made from noise, by a network that has seen\n"
        f"  {number}; it can remember slices, the more the fewer they are."
    )


def cohort_card(manifest: Mapping[str, Any], audit: Mapping[str, Any] | None = None) -> str:
    """Renders ``card.md`` from a cohort's ``manifest.json`` and, where there is one, its ``audit.json``."""
    generator, samples = manifest["generator"], manifest["samples"]
    channels = " + ".join(manifest["channels"])
    height, width = manifest["size"]
    thickness, row, column = manifest["spacing_mm"]
    patients = {case["patient"] for case in generator["training_cases"]}
    slices = sum(case.get("slices", 0) for case in generator["training_cases"])
    inherited = {case["patient"] for case in generator.get("inherited_cases") or []}
    before = f" (its parent saw {len(inherited)} more)" if inherited else ""
    lesions = sum(sample["lesion_voxels"] > 0 for sample in samples)
    best = manifest.get("keep_best", 1.0)
    chosen = f"; of every {round(1 / best)} slices the critic kept one" if best < 1 else ""
    return f"""---
license: other
license_name: fill-in
pretty_name: Synthetic {channels} slices with lesion masks
task_categories: [image-segmentation]
size_categories: ["{_size_category(len(samples))}"]
tags: [medical-imaging, synthetic-data, gan, segmentation]
---

# Synthetic {channels} slices with lesion masks

{len(samples):,} slices of {height}×{width} pixels of {row:.2f}×{column:.2f} mm, slices {thickness:.2f} mm apart, in the
layout `{manifest["layout"]}`; {lesions:,} of them show a lesion. Image and mask were made together by a generative
adversarial network. `manifest.json` gives the seed and number of every slice.

- {sharing_words(generator)}
- **Not for diagnosis.** No slice need be anatomically right.
- **Licence**: fill in; it follows from the training data's.
- **Generator**: {generator["model"]}, {generator["steps"]:,} steps, weights {generator["sha256"]}.
- **Seed**: {manifest["seed"]}{chosen}.
- **Training cohort**: {slices:,} slices of {len(patients)} patients{before}.{_left_out(manifest)}

## Limits

Slices are single: neighbours do not make a volume. They can be no more varied than the patients behind them, and a
generator of few patients may repeat them. Whether they help a segmenter is to be measured, on patients held out.

{audit_section(audit)}"""


def audit_section(audit: Mapping[str, Any] | None = None) -> str:
    """The section of a card that `enter_audit` finds again, with the figures of ``audit.json`` where there is one."""
    return f"## Audit\n\n{_BEGIN}\n{_NOT_AUDITED if audit is None else _figures(audit)}\n{_END}\n"


def enter_audit(root: Path, audit: Mapping[str, Any]) -> bool:
    """Puts an audit's figures into the card of a cohort or of a run; the rest of it stays as it is.

    Returns:
        Whether there was a card with a place for them.
    """
    path = root / CARD
    if not path.is_file():
        return False
    before, begin, rest = path.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        return False
    write_text_atomic(path, f"{before}{_BEGIN}\n{_figures(audit)}\n{_END}{after}")
    return True


def _size_category(count: int) -> str:
    return next((name for limit, name in _SIZES if count < limit), "n>1M")


def _left_out(manifest: Mapping[str, Any]) -> str:
    if (audited := manifest.get("audited")) is None:
        return ""
    dropped = ", ".join(f"{reason}: {count}" for reason, count in audited["dropped"].items()) or "none"
    return f"\n- **Left out** before writing, by limits of the training patients: {dropped}."


def _figures(audit: Mapping[str, Any]) -> str:
    """A table of figures between their anchors, and the gates."""
    gates = [f"- **{gate['name']}**: {_DECISIONS[gate['passed']]}; {gate['reason']}" for gate in audit["gates"]]
    table = ["| figure | samples | held-out real slices | degraded real slices |", "|---|--:|--:|--:|"]
    for finding in audit["findings"]:
        anchors = finding["anchors"]
        numbers = " | ".join(_number(value) for value in (finding["value"], anchors["good"], anchors["bad"]))
        table.append(f"| {finding['title']} | {numbers} |")
    sizes = ", ".join(
        f"{audit[name]['slices']:,} {words}"
        for name, words in (("samples", "samples"), ("train", "training slices"), ("held_out", "held-out slices"))
    )
    copies = _copies(audit)
    return "\n".join([f"The audit {_DECISIONS[audit['passed']]}: {sizes}.{copies}", "", *gates, "", *table])


def _copies(audit: Mapping[str, Any]) -> str:
    """What the audit found of copies, in a sentence; empty where it did not look."""
    found = {finding["name"]: finding["value"] for finding in audit["findings"]}
    if (share := found.get("copies.share")) is None:
        return ""
    passed = next((gate["passed"] for gate in audit["gates"] if gate["name"] == "copies"), None)
    advice = " Copies that are not searched for may be among them." if passed else " **Do not share them.**"
    return f" {share:.1%} of the samples count as copies of training slices.{advice}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
