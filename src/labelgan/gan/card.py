"""The model card of a generator, in the form that model hubs read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from labelgan.config.gan import GanConfig
from labelgan.data.export.card import audit_section, sharing_words
from labelgan.gan.networks.families import NETWORKS
from labelgan.gan.objectives import OBJECTIVES


def generator_card(manifest: Mapping[str, Any], config: GanConfig) -> str:
    """Renders ``card.md`` from a run's manifest and settings; no case or patient id is in it."""
    patients = {case["patient"] for case in manifest["training_cases"]}
    slices = sum(case["slices"] for case in manifest["training_cases"])
    height, width = manifest["size"]
    thickness, row, column = manifest["spacing_mm"]
    parameters = manifest["parameters"]
    inherited = {case["patient"] for case in manifest.get("inherited_cases", [])}
    seen_before = f", after those of {len(inherited)} patients that its parent saw" if inherited else ""
    content = manifest.get("content")
    kept = (
        f"\n- **The run folder holds {content['patients']} slices of these patients** (`content.safetensors`): share it"
        " only where you\n  may share their slices."
        if content
        else ""
    )
    state = "collapsed: do not use" if manifest["collapsed"] else "passes the diversity watch"
    return f"""---
license: other
license_name: fill-in
tags: [medical-imaging, gan, synthetic-data, segmentation]
library_name: labelgan
pipeline_tag: unconditional-image-generation
---

# Labelled slices by {config.model}

A generator of {" + ".join(manifest["channels"])} slices with lesion masks, {height}×{width} pixels of
{row:.2f}×{column:.2f} mm, slices {thickness:.2f} mm apart.

- {sharing_words(manifest)}{kept}
- **Not for diagnosis.** It knows no anatomy beyond its training slices.
- **Licence**: fill in; it follows from the training data's.
- **Trained on** {slices} slices of {len(patients)} patients{seen_before}.
- **Game**: {config.objective.name} ({OBJECTIVES[config.objective.name].source}).
- **Networks**: {config.network.family}, {NETWORKS[config.network.family].description};
  {parameters["generator"]:,} + {parameters["critic"]:,} parameters.
- **Steps**: {manifest["steps"]:,} of {config.train.batch_size} slices, seed {config.train.seed}.
- **Diversity** of its samples, as a share of real slices': {manifest["diversity"]:.3f}; it {state}.
- **Samples with a lesion**: {manifest["lesion_rate"]:.0%} of {32} drawn.

Samples: `labelgan sample RUN --num 100 --out DIR --format wmh`.

## Limits

Slices are single: neighbours do not make a volume. They can be no more varied than the patients behind them. Whether
they help a segmenter is to be measured, on patients held out.

{audit_section()}"""
