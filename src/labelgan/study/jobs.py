"""Every kind of job, whole: one place to add a kind (a function, and an entry of KINDS).

A job works in its own folder alone. What it makes lies in a folder inside that one, so that a training which was killed
finds its checkpoints there and goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from labelgan.audit.filters import SampleFilter
from labelgan.audit.slices import AuditSlices
from labelgan.config.audit import AuditConfig
from labelgan.config.base import PrepareConfig
from labelgan.config.gan import GanConfig
from labelgan.config.seg import SegConfig
from labelgan.config.study import StudyConfig
from labelgan.core.errors import DataError, LeakError, reworded
from labelgan.core.files import read_json, sha256_file, write_json_atomic
from labelgan.core.progress import Progress
from labelgan.data.case import Case
from labelgan.data.check.leaks import KnownScan, find_meetings
from labelgan.data.layouts.detect import read_cohort
from labelgan.data.manifests import SeenCase, SegmenterManifest
from labelgan.data.prepare.brain_search import find_brains
from labelgan.data.pseudonyms import using
from labelgan.data.store import SliceStore
from labelgan.data.volume import LESION, ImageRef
from labelgan.gan.run_folder import RunFolder
from labelgan.gan.sample import Judge
from labelgan.seg.folder import SegmenterFolder
from labelgan.study import amounts
from labelgan.study.amounts import Sizes
from labelgan.study.engine.ledger import Job
from labelgan.study.engine.worker import Context
from labelgan.study.folds import Fold
from labelgan.study.places import Places
from labelgan.study.plan import AUDIT, CHOOSE, GENERATOR, MEMBER, PREDICT, PREPARE, SAMPLE, SCORE, Plan


def sample_judge(run: str | Path, train: str | Path) -> Judge:
    """Fits what leaves out single samples of a generator on its training patients alone; see `audit.filters`.

    Args:
        run: run folder of the generator.
        train: slice store that holds its training patients; others in it are not looked at.

    Raises:
        DataError: the store lacks a case that the generator was trained on, or holds other voxels under its name.
    """
    store = SliceStore.open(Path(train))
    known = {case.id: case.hashes for case in store.cases}
    seen = RunFolder(Path(run)).read_manifest().training_cases
    if strange := [case.id for case in seen if known.get(case.id) != case.hashes]:
        raise DataError(store.path, f"does not hold case {strange[0]}, which the generator of {run} was trained on")
    fitted = SampleFilter.fit(AuditSlices.from_store(store, keep=[case.id for case in seen]))

    def judge(images_NCHW: np.ndarray, masks_NHW: np.ndarray) -> Sequence[str]:
        return fitted.judge(AuditSlices(images_NCHW, masks_NHW, find_brains(images_NCHW[:, 0]))).reasons.tolist()

    return judge


def require_unseen(case: Case, known: KnownScan, segmenters: Sequence[Path]) -> None:
    """Raises LeakError, naming both files, when a network or the generator behind its data has seen a case.

    Args:
        case: that was predicted.
        known: by what it is known, as it was read for the prediction.
        segmenters: folders of the networks that predicted it.
    """
    for folder in segmenters:
        path = SegmenterFolder(folder)
        seen = tuple(_seen(path.read_manifest()))
        for meeting in find_meetings((known,), [entry for _, entry in seen])[:1]:
            role, name = seen[meeting.second][0], f"{seen[meeting.second][1].id} ({path.manifest})"
            raise LeakError(
                next(iter(case.images.values())).path,
                f"case {case.id} is to be tested on, and {role} has seen it as {name}: {meeting.words}",
            )


def _seen(manifest: SegmenterManifest) -> Iterator[tuple[str, SeenCase]]:
    yield from (("the segmenter", entry) for entry in manifest.training_cases)
    if manifest.synthetic is not None:
        yield from (("its generator", entry) for entry in manifest.synthetic.training_cases)
        yield from (("its generator's parent", entry) for entry in manifest.synthetic.inherited_cases)


Training = TypeVar("Training", GanConfig, SegConfig)

STORE, RUN, COHORT, SEGMENTER, PREDICTIONS = "store", "run", "cohort", "segmenter", "predictions"
AUDIT_FOLDER = "audit"
RESULT = "result.nii.gz"
TRAINED = "trained.json"


def run(context: Context) -> dict[str, Any]:
    """Does a job of any kind and gives its result. Its errors tell no path above the study's and cohorts' folders."""
    places = Places.of(context.folder)
    try:
        with using(places.pseudonymise):
            return KINDS[context.kind].run(context, places)
    except Exception as error:
        raise reworded(error, lambda text: places.without_paths(text, context.folder.parents[1])) from None


def prepare(context: Context, places: Places) -> dict[str, Any]:
    """Makes the slice store of the cohort; every volume is prepared by itself, so that no fold knows another."""
    from labelgan.data.prepare.cohort import prepare_store

    config = PrepareConfig.build(context.params["config"])
    with Progress("prepare", "case") as progress:
        store = prepare_store(places.data, context.folder / STORE, config, force=True, progress=progress)
    return {"slices": len(store), "cases": len(store.cases)}


def train_generator(context: Context, places: Places) -> dict[str, Any]:
    """Trains a fold's generator on its training patients alone."""
    from labelgan.gan.train import train_generator

    store = SliceStore.open(context.inputs["store"] / STORE)
    config = _on_device(GanConfig.build(context.params["config"]), places)
    parent = places.start_from if context.params["start_from"] is not None else None

    def train() -> dict[str, Any]:
        with Progress("train", "step") as progress:
            result = train_generator(
                store,
                context.folder / RUN,
                config,
                exclude=_all_but(store, context.params["train"]),
                resume=True,
                start_from=parent,
                report=progress,
            )
        return {
            "steps": result.steps,
            "diversity": _number(result.diversity),
            "lesion_rate": _number(result.lesion_rate),
            "collapsed": result.collapsed,
        }

    return _trained(context.folder, train)


def sample(context: Context, places: Places) -> dict[str, Any]:
    """Draws a fold's synthetic slices. A collapsed generator is sampled too: the study tells what came of it."""
    from labelgan.gan.sample import sample_cohort

    run, out = context.inputs["generator"] / RUN, context.folder / COHORT
    judge = None
    if context.params.get("filtered"):
        from labelgan.study.jobs import sample_judge

        judge = sample_judge(run, context.inputs["store"] / STORE)
    shutil.rmtree(out, ignore_errors=True)
    with Progress("sample", "slice") as progress:
        sample_cohort(
            run,
            out,
            context.params["num"],
            format="npz",
            seed=context.params["seed"],
            device=places.device,
            force=True,
            judge=judge,
            report=progress,
        )
    manifest = read_json(out / "manifest.json")
    lesions = [entry["lesion_voxels"] for entry in manifest["samples"]]
    return {
        **({} if judge is None else {"left_out": manifest["audited"]["dropped"]}),
        "samples": len(lesions),
        "with_lesion": float(np.mean(np.array(lesions) > 0)),
        "collapsed": bool(context.results["generator"]["collapsed"]),
    }


def audit(context: Context, places: Places) -> dict[str, Any]:
    """Audits a fold's synthetic slices. A gate that fails is told by the study and stops nothing."""
    from labelgan.audit.run import run_audit
    from labelgan.report.audit import write_audit_page

    config = AuditConfig.build(context.params["config"]).replace({"data.device": places.device})
    out = context.folder / AUDIT_FOLDER
    with Progress("audit", "part") as progress:
        report = run_audit(
            context.inputs["samples"] / COHORT,
            SliceStore.open(context.inputs["store"] / STORE),
            list(context.params["held_out"]),
            out,
            config,
            report=progress,
        )
    write_audit_page(out)
    gates = [{"name": gate.name, "passed": gate.passed, "reason": gate.reason} for gate in report.gates]
    return {"passed": report.passed, "gates": gates}


def train_member(context: Context, places: Places) -> dict[str, Any]:
    """Trains one network of an arm's ensemble; synthetic data made from any other patient is refused."""
    from labelgan.seg.train import train_segmenter

    store = SliceStore.open(context.inputs["store"] / STORE)
    settings = {key: dict(value) for key, value in context.params["config"].items()}
    settings["train"]["seed"] = context.params["seed"]
    if "share" in context.inputs and settings["train"]["synthetic_share"] < 1:
        settings["train"]["synthetic_share"] = context.results["share"]["share"]
    config = _on_device(SegConfig.build(settings), places)
    synthetic = context.inputs["samples"] / COHORT if "samples" in context.inputs else None
    if "external" in context.params:
        synthetic = places.synthetic

    def train() -> dict[str, Any]:
        with Progress("train", "step") as progress:
            result = train_segmenter(
                store,
                context.folder / SEGMENTER,
                config,
                synthetic=synthetic,
                exclude=_all_but(store, context.params["train"]),
                resume=True,
                report=progress,
            )
        share = config.train.synthetic_share
        return {"steps": result.steps, "loss": _number(result.losses[0]), "synthetic_share": share}

    return _trained(context.folder, train)


def predict(context: Context, places: Places) -> dict[str, Any]:
    """Predicts an arm's test cases with its ensemble; a case that any part of it has seen is refused."""
    from labelgan.core.files import write_bytes_atomic
    from labelgan.data.export.write import nifti_bytes
    from labelgan.seg.predict import Ensemble

    folders = [context.inputs[name] / SEGMENTER for name in sorted(context.inputs, key=lambda n: int(n.split("-")[1]))]
    changes = {f"predict.{key}": value for key, value in context.params["predict"].items()}
    ensemble = Ensemble.load_joined(folders, device=places.device, settings=changes)
    cases = _cases(context, places)
    voxels: dict[str, int] = {}
    with Progress("predict", "case") as progress:
        for number, case in enumerate(cases):
            progress(number, len(cases), case.id)
            prediction = ensemble.predict(case)
            require_unseen(case, prediction.known, folders)
            place = context.folder / PREDICTIONS / case.id / RESULT
            write_bytes_atomic(place, nifti_bytes(prediction.mask_XYZ, prediction.affine))
            voxels[case.id] = int(prediction.mask_XYZ.sum())
        progress(len(cases), len(cases))
    return {"cases": len(cases), "lesion_voxels": voxels}


def score(context: Context, places: Places) -> dict[str, Any]:
    """Scores an arm's predictions as the challenge does; undefined values stay undefined."""
    from labelgan.data.reading.read import read_volume
    from labelgan.scoring.files import score_files
    from labelgan.scoring.pair import predicted_lesion

    rows = []
    for case in _cases(context, places):
        assert case.mask is not None
        place = context.inputs["predictions"] / PREDICTIONS / case.id / RESULT
        scores, _ = score_files(case.mask, ImageRef(place))
        mask = case.load_mask()
        assert mask is not None
        rows.append(
            {
                "case": case.id,
                "patient": case.patient,
                "site": case.site or "",
                **scores.to_json(),
                "lesion_voxels": int(np.count_nonzero(mask.data == LESION)),
                "predicted_voxels": int(np.count_nonzero(predicted_lesion(read_volume(ImageRef(place)).data))),
            }
        )
    return {"rows": rows}


def choose_share(context: Context, _: Places) -> dict[str, Any]:
    """Takes the share with the highest mean DSC on the fold's inner judges; of equals the smallest."""
    means = {}
    for share in context.params["shares"]:
        rows = context.results[f"share-{share:.6g}"]["rows"]
        # Nothing drawn and nothing found is right; the metric leaves it undefined.
        means[share] = float(np.mean([1.0 if row["dsc"] is None else row["dsc"] for row in rows]))
    best = max(sorted(means), key=lambda share: means[share])
    return {"share": best, "mean_dsc": {f"{share:.6g}": mean for share, mean in means.items()}}


@dataclass(frozen=True)
class Kind:
    """One kind of job, whole.

    Attributes:
        run: does a job in its folder; gives its result, plain JSON.
        unit: what its work is counted in.
        work: units of a job, from its settings and the sizes of the cases.
        recipe: names what a unit costs; jobs of one recipe differ in the amount of work alone.
        grows: more work leaves more on disk; weights of networks do not.
        instant: takes next to no time, and is not estimated.
        plan: jobs of this kind that a fold of any study has, given the plan so far; None: `study.plan` has them.
    """

    run: Callable[[Context, Places], dict[str, Any]]
    unit: str = "job"
    work: Callable[[Job, Sizes], float] = lambda job, sizes: 1.0
    recipe: Callable[[Job], str] = lambda job: ""
    grows: bool = True
    instant: bool = False
    plan: Callable[[Plan, Fold, StudyConfig], Iterable[Job]] | None = None


KINDS: dict[str, Kind] = {
    PREPARE: Kind(prepare, "voxel", amounts.all_voxels),
    GENERATOR: Kind(train_generator, "step", amounts.steps, amounts.training_recipe, grows=False),
    SAMPLE: Kind(sample, "slice", amounts.drawn),
    AUDIT: Kind(audit, "slice", amounts.audited, amounts.audit_recipe),
    MEMBER: Kind(train_member, "step", amounts.member_steps, amounts.training_recipe, grows=False),
    PREDICT: Kind(predict, "slice and network", amounts.predicted, amounts.predict_recipe),
    SCORE: Kind(score, "voxel", amounts.voxels),
    CHOOSE: Kind(choose_share, instant=True),
}


def plan_more(plan: Plan, config: StudyConfig) -> Plan:
    """Adds the jobs that the entries of ``KINDS`` plan themselves, fold by fold."""
    for fold in plan.folds:
        for kind in KINDS.values():
            for job in kind.plan(plan, fold, config) if kind.plan is not None else ():
                plan.add(job)
    return plan


def _all_but(store: SliceStore, train: list[str]) -> list[str]:
    patients = {case.patient for case in store.cases}
    if missing := sorted(set(train) - patients):
        raise DataError(store.path, f"has no patient {', '.join(missing)}")
    return sorted(patients - set(train))


def _cases(context: Context, places: Places) -> list[Case]:
    wanted = context.params["cases"]
    root = places.cohort(context.params["cohort"])
    cases = [case for case in read_cohort(root).cases if case.id in wanted]
    if missing := sorted(set(wanted) - {case.id for case in cases}):
        raise DataError(root, f"has no case {', '.join(missing)}")
    return cases


def _on_device(config: Training, places: Places) -> Training:
    return config.replace({"train.device": places.device})


def _trained(folder: Path, train: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Trains in a job's folder and gives the result; drops what it would have resumed from, many times the weights.

    A kill between the end of the training and the job's done.json costs nothing: what came of it is written down, with
    the hashes of the weights, before the checkpoints go.
    """
    place = folder / TRAINED
    kept = read_json(place) if place.is_file() else {}
    if not kept or kept["sha256"] != _hashes(folder):
        kept = {"result": train(), "sha256": _hashes(folder)}
        write_json_atomic(place, kept)
    for checkpoints in list(folder.rglob("checkpoints")):
        shutil.rmtree(checkpoints)
    return kept["result"]


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the weights in a folder, those of checkpoints left out."""
    weights = [path for path in sorted(folder.rglob("*.safetensors")) if "checkpoints" not in path.parts]
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in weights}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
