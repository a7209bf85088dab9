"""The league's document: tables from league.json, pictures of synthetic slices, and the notes written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.league.curves import curve_lines
from bench.league.plan import BASELINES, REFERENCES, ROWS, WITH_SAMPLES, arm_of
from bench.league.results import METRICS
from labelgan.core.errors import DataError
from labelgan.core.files import is_safe_id
from labelgan.data.pictures import mosaic, save_png
from labelgan.data.prepare.case import to_unit

PICTURED = 8
TITLES = {"dsc": "DSC", "lesion_recall": "lesion recall", "lesion_f1": "lesion F1"}
INTRODUCTION = """# The league of generators

Every generator family, the same training patients, the same time, the same segmenter. Half of the patients, drawn
once, are for development: training patients are drawn from them, and choices were made on them alone. All others are
tested on. Written by `python -m bench.league --report`; the last section by hand.

- A generator trains for the same time on one thread (seconds of its processor; on a GPU by the wall), setting up
  included, and samples once. What was tuned for each is told below.
- Arms differ in nothing else: the same seeds, first weights, steps and batches of the segmenter. `+synthetic` gives a
  share of every batch to synthetic slices; `+copypaste` pastes lesions of one training patient into another's slices.
- Intervals are of 95 %, paired by patient, over patients and draws of training patients
  (`labelgan.study.verdict.statistics`); **helps** and **harms** are the study's verdicts on one comparison, which want
  a test that is corrected over its metrics to agree. The headline over the tables is corrected over all generators,
  sizes and metrics together, against the strongest arm without synthetic slices.
- The multiplier is how many patients `classical` would need for the same DSC, over how many there were.
- Label agreement is 1 where masks fit their images as training slices' do, 0 where they are other slices'. Kernel
  distance and coverage are of images with masks, by an encoder fitted on the training slices, against these. Copies
  are samples that lie closer to a training slice than 99 % of the slices of patients that were not seen.
"""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, the first column to the left, the others to the right; nothing where there is no row."""
    if not rows:
        return []
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def number(value: float | None, digits: int = 3, signed: bool = False) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:{'+' if signed else ''},.{digits}f}".replace("-", "−")


def percent(value: float | None) -> str:
    """A share, in percent."""
    return "–" if value is None else f"{100 * value:.1f} %"


def difference(row: dict[str, Any] | None) -> str:
    """A comparison's difference with its interval, and its verdict where it has one."""
    if row is None:
        return "–"
    low, high = (number(end, signed=True) for end in row["interval"] or (None, None))
    word = "" if row["verdict"] == "no evidence" else f" **{row['verdict']}**"
    return f"{number(row['difference'], signed=True)} ({low} to {high}){word}"


def arms_in_order(rows: Sequence[str]) -> list[str]:
    """Every arm's name: the baselines, then those of each row."""
    return [*BASELINES, *(arm_of(arm, row) for row in rows for arm in WITH_SAMPLES)]


def scores(verdict: dict[str, Any], rows: Sequence[str]) -> list[str]:
    """Means over test patients, and the multiplier, for every number of training patients."""
    found = {(row["n_train"], row["arm"], row["metric"]): row for row in verdict["summary"]}
    worth = {(r["n_train"], r["arm"]): r for r in verdict["multipliers"] if r["reference"] == REFERENCES[0]}
    lines = []
    for size in sorted({key[0] for key in found}):
        for arm in arms_in_order(rows):
            if (size, arm, "dsc") not in found:
                continue
            means = [
                f"{number(found[size, arm, metric]['mean'])} ± {number(found[size, arm, metric]['sd'])}"
                for metric in METRICS
            ]
            lines.append([arm, str(size), *means, multiplier(worth.get((size, arm)))])
    return table(["arm", "n", *(TITLES[metric] for metric in METRICS), "multiplier"], lines)


def multiplier(row: dict[str, Any] | None) -> str:
    """How many times n the reference would need, with its interval; beyond the curve what is known."""
    if row is None:
        return "–"
    if row["multiplier"] is None:
        return row["note"]
    if row["interval"] is None:
        return f"{number(row['multiplier'], 2)} ({row['note']})"
    low, high = row["interval"]
    ends = (
        f"{'below the curve' if low is None else number(low, 1)} to {'beyond it' if high is None else number(high, 1)}"
    )
    return f"{number(row['multiplier'], 2)} ({ends})"


def differences(verdict: dict[str, Any], rows: Sequence[str], reference: str) -> list[str]:
    """Paired differences to one arm."""
    found = {
        (row["n_train"], row["arm"], row["metric"]): row
        for row in verdict["comparisons"]
        if row["reference"] == reference
    }
    lines = []
    for size in sorted({key[0] for key in found}):
        for arm in arms_in_order(rows):
            if (size, arm, "dsc") in found:
                cells = [difference(found.get((size, arm, metric))) for metric in METRICS]
                lines.append([f"{arm} − {reference}", str(size), *cells])
    return table(["difference", "n", *(TITLES[metric] for metric in METRICS)], lines)


_COLUMNS: dict[str, tuple[str, Callable[[float | None], str]]] = {
    "label.agreement.ring": ("label agreement, ring", number),
    "label.agreement.edge": ("edge", number),
    "pair.kid": ("kernel distance", number),
    "pair.coverage": ("coverage", number),
    "diversity.spread": ("diversity", number),
    "copies.share": ("copies", percent),
    "copies.authenticity": ("authenticity", number),
}


def generators(entries: Sequence[dict[str, Any]]) -> list[str]:
    """What each generator cost, and what its audit says of its samples, beside what it says of unseen real slices."""
    costs, figures = [], []
    for size in sorted({entry["n_train"] for entry in entries}):
        own = [entry for entry in entries if entry["n_train"] == size]
        for entry in own:
            count = entry["parameters"]["generator"] if entry["parameters"] else None
            collapsed = f"{entry['collapsed']} of {entry['draws']}" if entry["collapsed"] else ""
            costs.append(
                [
                    *(entry["row"], str(size), number(count, 0), number(entry["steps"], 0)),
                    *(number(entry["train_seconds"], 0), number(entry["sample_seconds"], 0)),
                    *(percent(entry["with_lesion"]), collapsed),
                ]
            )
            cells = [
                show(entry["figures"][name]["value"])
                + (f" ({entry['figures'][name]['undefined']} undefined)" if entry["figures"][name]["undefined"] else "")
                for name, (_, show) in _COLUMNS.items()
            ]
            figures.append([entry["row"], str(size), *cells])
        known = next((entry for entry in own if entry["figures"]["pair.kid"]["held_out"] is not None), None)
        if known:
            cells = [show(known["figures"][name]["held_out"]) for name, (_, show) in _COLUMNS.items()]
            figures.append(["*unseen real slices*", str(size), *cells])
    head = ["generator", "n", "parameters", "steps", "training, s", "sampling, s", "slices with lesion", "collapsed"]
    return [*table(head, costs), *table(["samples of", "n", *(title for title, _ in _COLUMNS.values())], figures)]


def commands(config: dict[str, Any], entries: Sequence[dict[str, Any]]) -> list[str]:
    """One line for each generator that makes it alone, and what was tuned."""
    steps = {entry["row"]: entry["steps"] for entry in reversed(entries)}
    lines = []
    for name in config["rows"]:
        row = ROWS[name]
        if row.model == "ddpm":
            command = f"python -m bench.league.ddpm STORE --out RUN --seconds {config['seconds']:g}"
            command += f" --samples {config['samples']}"
        else:
            start = " --start-from phantom" if row.from_phantom else ""
            preset = f" --preset {row.preset}" if row.preset and not row.from_phantom else ""
            count = f" --steps {steps[name]:.0f}" if steps.get(name) else ""
            command = f"labelgan train STORE --out RUN --model {row.model}{preset}{start}{count} --threads 1"
        command += "".join(f" --set {setting}" for setting in row.settings)
        command += "; labelgan sample RUN --audited STORE" if row.filtered else ""
        lines.append(f"| {name} | `{command}` | {row.about} |")
    return ["| generator | alone | tuned |", "|---|---|---|", *lines, ""]


def own_command(league: str, result: dict[str, Any]) -> str:
    """The command that plays the league, without where its data lies."""
    config = result["config"]
    prepare, train = config["prepare"], config["segmenter"]["train"]
    options = [f"--data {result['cohort']} --out {league} --rows {','.join(config['rows'])}"]
    options += [f"--sizes {','.join(map(str, config['sizes']))} --curve {','.join(map(str, config['curve']))}"]
    options += [f"--draws {config['draws']} --generator-seconds {config['seconds']:g} --samples {config['samples']}"]
    options += [f"--members {config['members']} --size {prepare['size'][0]} --steps {train['steps']}"]
    if prepare["spacing_mm"] is not None:
        options += [f"--spacing {prepare['spacing_mm']:g}"]
    options += [f"--set segmenter.predict.emptied={config['segmenter']['predict']['emptied']:g}"]
    return "python -m bench.league " + " ".join(options)


def picture(folder: Path, entry: dict[str, Any], result: dict[str, Any], doc: Path) -> list[str]:
    """Draws a row's first samples that its audit does not call copies, and gives the lines that show them."""
    source, name = entry["cohort"], entry["row"]
    if ROWS[name].real_anatomy and not result["phantom"]:
        return [f"**{name}**: not pictured, because its samples hold parts of real slices.", ""]
    if source is None:
        return []
    left_out = set(source["copies"])
    slices = sorted((folder / source["folder"] / "images").glob("*.npz"))
    shown = [path for path in slices if path.stem not in left_out][:PICTURED]
    if not shown:
        return [f"**{name}**: not pictured, because all its samples count as copies.", ""]
    passed = sum(path.stem in left_out for path in slices[: slices.index(shown[-1]) + 1])
    images_NHWC = np.stack([_pixels(path) for path in shown])
    masks_NHW = np.stack([_pixels(folder / source["folder"] / "masks" / path.name) for path in shown])
    file = doc.parent.parent / "images" / "league" / f"{folder.resolve().name}-{name}.png"
    save_png(file, mosaic(to_unit(np.moveaxis(images_NHWC, -1, 1)), masks_NHW, columns=4))
    note = f", {passed} that count as copies left out" if passed else ""
    words = f"{name}, {entry['n_train']} patients, first draw{note}"
    return [f"**{words}**", "", f"![samples of {name}](../images/league/{file.name})", ""]


def _pixels(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as content:
        return content["pixels"]


def league_section(folder: Path, result: dict[str, Any], doc: Path) -> list[str]:
    """One league: command, scores, generators, pictures, cost."""
    name, config, verdict = folder.resolve().name, result["config"], result["verdict"]
    if not is_safe_id(name):
        raise DataError(folder, "its name stands in file names: letters, digits, '.', '_' and '-' alone")
    entries, people = result["generators"], result["patients"]
    devices = sorted({entry["device"] for entry in entries if entry["device"]})
    lines = [f"## {name}: {result['cohort']}", ""]
    lines += [
        f"{people['development']} development patients, {people['test']} test patients; {config['draws']} draws; "
    ]
    lines[-1] += (
        f"slices of {config['prepare']['size'][0]} pixels a side; generators on {', '.join(devices) or 'nothing'}."
    )
    lines += ["", "```sh", own_command(name, result), "```", ""]
    if verdict is None:
        lines += ["*Nothing is scored yet.*", ""]
    else:
        lines += ["### Downstream", ""]
        if "headline" in verdict:  # a league of an earlier version kept none
            lines += [f"**{verdict['headline']}**", ""]
        lines += ["Mean ± standard deviation over test patients.", ""]
        lines += scores(verdict, config["rows"])
        for reference in REFERENCES:
            lines += [f"### Against {reference}", "", *differences(verdict, config["rows"], reference)]
        lines += curve_lines(name, verdict, config["rows"], doc)
    lines += ["### Generators and their samples", "", "Means over draws.", "", *generators(entries)]
    lines += commands(config, entries)
    lines += ["### Pictures", "", "Synthetic slices (FLAIR, T1, FLAIR with the mask's outline), uncurated.", ""]
    first = {entry["row"]: entry for entry in reversed(entries)}
    for row in config["rows"]:
        lines += picture(folder, first[row], result, doc) if row in first else []
    lines += ["### Cost", ""]
    lines += table(["job", "jobs", "seconds by the wall"],
                   [[row["kind"], str(row["jobs"]), number(row["seconds"], 0)] for row in result["cost"]])  # fmt: skip
    lines += [f"Not finished: {failure['label']}: {failure['reason']}." for failure in result["failed"]]
    made = result["made_with"]
    lines += [
        "",
        f"Made with labelgan {made['labelgan']} ({made.get('git', 'no checkout')}), torch {made['torch']}.",
        "",
    ]
    return lines


def league_page(leagues: Sequence[tuple[Path, dict[str, Any]]], doc: Path, notes: Path) -> str:
    """The whole document; draws its pictures."""
    lines = [INTRODUCTION]
    for folder, result in leagues:
        lines += league_section(folder, result, doc)
    if not leagues:
        lines += ["*No league has been played yet.*", ""]
    lines += [notes.read_text(encoding="utf-8").rstrip() if notes.is_file() else "", ""]
    return "\n".join(lines).rstrip() + "\n"
