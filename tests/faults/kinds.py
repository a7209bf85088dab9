"""Every kind of bad input there is a promise for, by name."""

from __future__ import annotations

from faults.cohorts import COHORTS
from faults.ground import Kind
from faults.models import MODELS
from faults.scans import SCANS
from faults.stores import STORES

GROUPS: dict[str, tuple[Kind, ...]] = {
    "Scans and masks": SCANS,
    "Cohorts": COHORTS,
    "Slice stores": STORES,
    "Models, samples, predictions, studies": MODELS,
}
KINDS: dict[str, Kind] = {kind.name: kind for kinds in GROUPS.values() for kind in kinds}
