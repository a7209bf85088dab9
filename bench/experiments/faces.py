"""How many scans are taken for ones with a face: as they are, with the face cut off, and with the skull off.

python -m bench.experiments.faces NAME=COHORT ...           # prints
python -m bench.experiments.faces NAME=COHORT ... --write   # and writes the section "faces" of
docs/results/reliability.md
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from labelgan.core.provenance import measured_at
from labelgan.data.geometry import SliceGeometry
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.phantom.cohort import phantom_patient
from labelgan.data.prepare.brain_search import find_brain
from labelgan.data.prepare.face import shows_face
from labelgan.data.volume import Volume
from tools.sections import write_section

DOC = Path(__file__).parents[2] / "docs" / "results" / "reliability.md"
PHANTOMS = 9


def cut_face(volume: Volume) -> Volume:
    """Zeroes what lies below a plane from the brain's front, a quarter up, to under its middle, as defacers do."""
    geometry = SliceGeometry.of(volume.data.shape, volume.affine, (8, 8))
    axial = geometry.to_axial(volume.data)
    step = tuple(max(1, -(-size // 64)) for size in axial.shape)
    z, y, _ = np.nonzero(find_brain(axial[:: step[0], :: step[1], :: step[2]]))
    brow, base = np.percentile(z, (25, 2)) * step[0]
    front, middle = np.percentile(y, (0.5, 50)) * step[1]
    levels, rows = np.indices(axial.shape[:2])
    plane = base + (rows - middle) * (brow - base) / (front - middle)
    cut = axial.copy()
    cut[(rows < middle) & (levels < plane)] = 0
    return Volume(geometry.from_axial(cut), volume.affine)


def scans(root: Path) -> Iterator[Volume]:
    """Every image of a cohort."""
    for case in read_cohort(root).cases:
        yield from (case.load_image(channel) for channel in case.images)


def counts(volumes: Iterator[Volume], every: int) -> tuple[int, int, int, int]:
    """Volumes, those with a face, and of every K-th one: how many were cut, and how many then show a face."""
    seen = faces = cut = left = 0
    for number, volume in enumerate(volumes):
        seen, faces = seen + 1, faces + shows_face(volume)
        if number % every == 0:
            cut, left = cut + 1, left + shows_face(cut_face(volume))
    return seen, faces, cut, left


def main() -> None:
    """Counts, prints and, where asked to, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohorts", nargs="*", metavar="NAME=COHORT")
    parser.add_argument("--every", type=int, default=1, help="cut the face off every K-th volume")
    parser.add_argument("--write", action="store_true", help="write the section of the document")
    options = parser.parse_args()
    rows = []
    for given in options.cohorts:
        name, _, root = given.partition("=")
        rows.append((name, *counts(scans(Path(root)), options.every)))
    patients = [phantom_patient(0, index) for index in range(PHANTOMS)]
    heads = [Volume(image.astype(np.float32), p.affine) for p in patients for image in (p.t1, p.flair)]
    rows.append(("phantoms of three scanners", *counts(iter(heads), 1)))
    stripped = [Volume((image * p.brain).astype(np.float32), p.affine) for p in patients for image in (p.t1, p.flair)]
    rows.append(("the same, skull off", *counts(iter(stripped), len(stripped))))
    table = "\n".join(f"| {name} | {seen} | {faces} | {left} of {cut} |" for name, seen, faces, cut, left in rows)
    text = f"""## Faces

`python -m bench.experiments.faces NAME=COHORT ... --write`: volumes that `labelgan check` takes for ones with a face,
as they are and after the front of the head was cut off below a plane through the brow.
[What is looked at, and its limits](../guides/privacy.md#faces). {measured_at()}

| cohort | volumes | may show a face | after the cut |
|---|--:|--:|--:|
{table}
"""
    print(text)
    if options.write:
        write_section(DOC, "faces", text)


if __name__ == "__main__":
    main()
