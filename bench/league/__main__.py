"""Plays the league: every generator family, the same time, the same patients, the same segmenter; one table.

Run: python -m bench.league --data COHORT --out LEAGUE [--size 64] [--spacing 4] [--sizes 5,10] [--curve 20,40]
     [--draws 3] [--rows gan,r3gan] [--generator-seconds 180] [--workers 2] [--set segmenter.predict.emptied=0]
     python -m bench.league --report LEAGUE... [--doc docs/results/league.md]

Half of the patients, drawn once, are for development: training patients are drawn from them. All others are tested on.
A generator trains for so many seconds on one thread (of processor time; on a GPU by the wall), and its samples join the
segmenter's batches, with classical augmentation and with copy-paste on top. What is finished is not done again, so that
a league can be killed, go on, and be given another row, draw or number of patients. LEAGUE/league.json has what came of
it; --report writes the tables and the pictures of synthetic slices from that, and adds docs/results/league-notes.md,
which is written by hand.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.league.plan import ROWS, LeagueConfig, LeaguePlan, plan_league
from labelgan.config.study import EngineConfig
from labelgan.core.errors import LabelganError
from labelgan.core.files import lock_folder, read_json, write_json_atomic, write_text_atomic
from labelgan.core.progress import Progress
from labelgan.study.cohort import know_cohort
from labelgan.study.engine.engines import make_engine
from labelgan.study.engine.ledger import Ledger
from labelgan.study.engine.scheduler import Event, run_jobs
from labelgan.study.places import Places
from labelgan.study.run import gpus_of_a_job

DOC = Path("docs/results/league.md")
RESULT = "league.json"


def numbers(text: str) -> str:
    """``5,10`` as a TOML list; empty for none."""
    return f"[{text}]"


def league_config(given: argparse.Namespace) -> LeagueConfig:
    """Puts the settings together: named options, then ``--set``; raises ConfigError by name."""
    named = {
        "rows": None if given.rows is None else list(filter(None, given.rows.split(","))),
        "sizes": None if given.sizes is None else numbers(given.sizes),
        "curve": None if given.curve is None else numbers(given.curve),
        "draws": given.draws,
        "seconds": given.generator_seconds,
        "samples": given.samples,
        "members": given.members,
        "prepare.size": None if given.size is None else [given.size, given.size],
        "prepare.spacing_mm": given.spacing,
        "segmenter.train.steps": given.steps,
    }
    settings = [f"{key}={value}" for key, value in named.items() if value is not None]
    return LeagueConfig().with_settings([*settings, *given.set])


def play(given: argparse.Namespace) -> int:
    """Runs what is left of a league and writes what came of it; gives the exit code."""
    from bench.league.results import league_results

    config, out = league_config(given), given.out
    with lock_folder(out):
        with Progress("look", "case") as progress:
            cohort = know_cohort(given.data, out / "cohort.json", progress)
        plan = plan_league(config, cohort, gpus_of_a_job(given.device))
        if given.dry_run:
            show(plan)
            return 0
        Places(given.data, device=given.device).write(out)
        write_text_atomic(out / "config.toml", config.to_toml())
        ledger = Ledger(out)
        if given.so_far:
            write_json_atomic(out / RESULT, league_results(cohort, config, plan, ledger, []))
            return 0
        # Workers import the league's own runners from the root of the checkout.
        here = str(Path(__file__).resolve().parents[2])
        os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
        engine = EngineConfig(workers=given.workers, threads=1)

        def conclude(event: Event) -> None:
            if event.note:
                print(f"{event.what}: {event.job.label}: {event.note}", file=sys.stderr)

        with make_engine("local", ledger, engine) as running, Progress("league", "job") as progress:
            summary = run_jobs(list(plan.jobs.values()), ledger, running, report=progress, tell=conclude)
        failed = [failure.record() for failure in summary.failed]
        write_json_atomic(out / RESULT, league_results(cohort, config, plan, ledger, failed))
    return 1 if summary.failed else 0


def show(plan: LeaguePlan) -> None:
    """Prints the number of jobs of each kind."""
    kinds = [job.kind for job in plan.jobs.values()]
    for kind in dict.fromkeys(kinds):
        print(f"{kinds.count(kind):5d} {kind}")


def report(leagues: Sequence[Path], doc: Path) -> None:
    """Writes the document of finished leagues, with its pictures under ``images`` beside its folder."""
    from bench.league.report import league_page

    notes = doc.with_name(f"{doc.stem}-notes.md")
    page = league_page([(folder, read_json(folder / RESULT)) for folder in leagues], doc, notes)
    write_text_atomic(doc, page)
    print(doc)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="annotated cohort")
    parser.add_argument("--out", type=Path, help="the league's folder; its name is its title")
    parser.add_argument("--rows", help=f"of {','.join(ROWS)} (default: all)")
    parser.add_argument("--sizes", help="numbers of training patients, with commas")
    parser.add_argument("--curve", help="more of them for the references alone")
    parser.add_argument("--draws", type=int)
    parser.add_argument("--generator-seconds", type=float)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--members", type=int)
    parser.add_argument("--size", type=int, help="side of a slice, pixels")
    parser.add_argument("--spacing", type=float, help="side of a pixel, mm")
    parser.add_argument("--steps", type=int, help="of a segmenter")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting of LeagueConfig")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--so-far", action="store_true", help="run nothing: write league.json of what is done")
    parser.add_argument("--dry-run", action="store_true", help="print the number of jobs")
    parser.add_argument("--report", type=Path, nargs="*", metavar="LEAGUE", help="write the document of these")
    parser.add_argument("--doc", type=Path, default=DOC)
    given = parser.parse_args(arguments)
    if (given.data is None) != (given.out is None) or (given.data is None and given.report is None):
        parser.error("give --data and --out to play, --report to write")
    return given


def main() -> int:
    """Plays, reports, or both."""
    given = parse()
    try:
        code = play(given) if given.data is not None else 0
        if given.report is not None and not given.dry_run:
            report(given.report, given.doc)
    except LabelganError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return code


if __name__ == "__main__":
    sys.exit(main())
