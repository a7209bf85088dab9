"""What the league's own kinds of job do: generators trained by the clock, and their samples, timed.

All other kinds are those of a study; see `labelgan.study.jobs`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from bench.league.clock import NEVER, Clock, train_for
from bench.league.ddpm import DdpmConfig, sample_ddpm, train_ddpm
from bench.league.plan import SAMPLE, TRAIN
from labelgan import api
from labelgan.config.gan import GanConfig
from labelgan.core.files import read_json
from labelgan.core.progress import Progress
from labelgan.data.store import SliceStore
from labelgan.study import jobs
from labelgan.study.jobs import COHORT, RUN, STORE, Context
from labelgan.study.places import Places
from labelgan.training.device import choose_device


def run(context: Context) -> dict[str, Any]:
    """Does a job and gives its result."""
    return RUNNERS[context.kind](context, Places.of(context.folder))


def train(context: Context, places: Places) -> dict[str, Any]:
    """Trains a row's generator on a fold's training patients. A killed attempt is begun again: its clock is lost."""
    params, run_folder = context.params, context.folder / RUN
    store = SliceStore.open(context.inputs["store"] / STORE)
    exclude = sorted({case.patient for case in store.cases} - set(params["train"]))
    shutil.rmtree(run_folder, ignore_errors=True)
    seconds = float(params["seconds"])
    with Progress("train", "step") as progress:
        if params["model"] == "ddpm":
            trained = train_ddpm(
                store, run_folder, DdpmConfig.build(params["config"]), seconds=seconds, exclude=exclude,
                device=places.device, report=progress,
            )  # fmt: skip
            found = {"steps": trained.steps, "seconds": trained.seconds, "collapsed": False}
        else:
            config = GanConfig.build(params["config"]).with_settings([f"train.device={places.device}"])
            start = api.phantom_generator() if params["parent"] else None
            result, spent = train_for(
                store, run_folder, config, seconds, most_steps=params.get("most_steps", NEVER), exclude=exclude,
                start_from=start, report=progress,
            )  # fmt: skip
            shutil.rmtree(run_folder / "checkpoints")
            found = {"steps": result.steps, "seconds": spent, "collapsed": result.collapsed}
    manifest = read_json(run_folder / "manifest.json")
    return {**found, "parameters": manifest["parameters"], "device": manifest["device"]}


def sample(context: Context, places: Places) -> dict[str, Any]:
    """Draws a row's samples; a collapsed generator is sampled too, and the table tells."""
    clock = Clock(choose_device(places.device))
    if context.params["model"] != "ddpm":
        return jobs.sample(context, places) | {"seconds": clock.seconds()}
    out, num = context.folder / COHORT, context.params["num"]
    shutil.rmtree(out, ignore_errors=True)
    with Progress("sample", "slice") as progress:
        sample_ddpm(
            context.inputs["generator"] / RUN, out, num, seed=context.params["seed"], device=places.device,
            report=progress,
        )  # fmt: skip
    lesions = [entry["lesion_voxels"] > 0 for entry in read_json(out / "manifest.json")["samples"]]
    return {"samples": num, "with_lesion": sum(lesions) / num, "collapsed": False, "seconds": clock.seconds()}


RUNNERS: dict[str, Callable[[Context, Places], dict[str, Any]]] = {TRAIN: train, SAMPLE: sample}
