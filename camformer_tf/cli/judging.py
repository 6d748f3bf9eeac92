"""Commands that judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import click

from camformer_tf.cli import group

# === What commands share ===


def _scorecard(command: Callable) -> Callable:
    """Adds the options of the challenge's scorecard, which `_Judge` takes."""
    for option in reversed(
        [
            group.option(
                "--dream",
                "subsets_dir",
                type=group.PATH,
                help="Also the DREAM 2022 scorecard: the folder of the challenge's subset files.",
            ),
            group.option(
                "--leaderboard",
                "leaderboard_dir",
                type=group.PATH,
                help="The folder of the public leaderboard's ids, for phases public and private.",
            ),
            group.option(
                "--phase",
                type=click.Choice(["full", "public", "private"]),
                help="Of the scorecard; full by default, public if --leaderboard is given alone.",
            ),
            group.option(
                "--published",
                type=group.PATH,
                help="A table of published scores (sota.csv) to stand among.",
            ),
        ]
    ):
        command = option(command)
    return command


@dataclasses.dataclass(frozen=True)
class _Judge:
    """What the options say of how predictions are judged."""

    truth: Path | None
    subsets_dir: Path | None
    leaderboard_dir: Path | None
    phase: str | None
    published: Path | None

    def __post_init__(self):
        if (self.phase or self.published) and not self.by_scorecard:
            raise click.UsageError("--phase and --published go with --dream or --leaderboard.")
        if not self.phase:
            object.__setattr__(self, "phase", "full" if self.subsets_dir else "public")

    @property
    def by_scorecard(self) -> bool:
        return bool(self.subsets_dir or self.leaderboard_dir)

    def read(self, path: Path):
        """Returns predictions with their truth."""
        from camformer_tf.evaluation import evaluate, scorecard

        alone = self.truth is None and self.leaderboard_dir and self.phase == "public"
        if path.suffix == ".json" and alone:
            return scorecard.read_public(path, self.leaderboard_dir)
        return evaluate.read(path, self.truth)

    def card(self, pairs, resamples: int = 0):
        """Returns the scorecard, if it is wanted, and the published scores to stand among."""
        from camformer_tf.evaluation import scorecard
        from camformer_tf.metrics import dream

        if not self.by_scorecard:
            return None, {}
        teams = dream.published(self.published) if self.published else {}
        folders = self.subsets_dir, self.leaderboard_dir
        return scorecard.judge(pairs, self.phase, *folders, resamples=resamples), teams


# === Commands ===


@click.command()
@click.argument("table", metavar="PREDICTIONS", type=group.PATH)
@click.argument("truth", required=False, type=group.PATH)
@group.option("--out", type=group.PATH, help="Also write the scores as JSON.")
@_scorecard
@group.option(
    "--bootstrap",
    "resamples",
    default=0,
    type=click.IntRange(0),
    help="Resamples for 95 % intervals, such as 1000.",
)
@group.option(
    "--against", type=group.PATH, help="Other predictions of the same sequences, to compare with."
)
@group.quiet
def evaluate(
    table: Path,
    truth: Path | None,
    out: Path | None,
    resamples: int,
    against: Path | None,
    **challenge,
) -> None:
    """Score PREDICTIONS against TRUTH, or against their own expression column.

    TRUTH is the text that was predicted: the same sequences, in the same order. PREDICTIONS may be
    the challenge's JSON, which without TRUTH is judged by the values of --leaderboard.
    """
    from camformer_tf.evaluation import evaluate, scorecard

    judge = _Judge(truth, **challenge)
    pairs, difference = judge.read(table), None
    scores = evaluate.score_pairs(pairs, resamples=resamples)
    told = [scores.summary()]
    card, teams = judge.card(pairs, resamples)
    if card:
        told += ["", scorecard.summary(card, teams)]
    if against:
        difference = evaluate.compare(pairs, judge.read(against), resamples=resamples)
        told += ["", f"higher than {against}, by"]
        told += [f"{name:<16} {one.summary()}" for name, one in difference.items()]
    if out:
        evaluate.save(scores, out, card, difference)
    click.echo("\n".join(told))


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=group.PATH)
@group.option("--out", type=group.PATH, help="Also write the table as CSV.")
@group.option("--html", type=group.PATH, help="Also write it, with a picture, as one HTML file.")
@group.quiet
def compare(runs: tuple[Path, ...], out: Path | None, html: Path | None) -> None:
    """Put runs beside each other, the best first, with the recipe values in which they differ.

    A run of replicates is each of its runs; of an unfinished one the best epoch so far counts.
    """
    from camformer_tf.evaluation import compare

    found = compare.compare(runs)
    if out:
        compare.save(found, out)
    if html:
        compare.save_page(found, html)
    click.echo(found.summary())


@click.command()
@click.argument("run_dir", metavar="RUN_DIR", type=group.PATH)
@group.option("--out", type=group.PATH, help="Default: report.html in the run.")
@group.option(
    "--predictions",
    "table",
    type=group.PATH,
    help="Show these instead of the run's own of its validation set.",
)
@group.option("--truth", type=group.PATH, help="Of --predictions, as for `evaluate`.")
@_scorecard
@group.option("--open", "opens", is_flag=True, help="Show it in a browser.")
@group.option("--overwrite", is_flag=True, help="Replace a report that is there already.")
@group.quiet
def report(
    run_dir: Path,
    out: Path | None,
    table: Path | None,
    truth: Path | None,
    opens: bool,
    overwrite: bool,
    **challenge,
) -> None:
    """Write a run, or a run of replicates, as one HTML file with all its pictures.

    The file fetches nothing and can be mailed. A run that is not finished is shown as it stands.
    """
    from camformer_tf import rundir
    from camformer_tf.evaluation import report

    judge, judged = _Judge(truth, **challenge), None
    if table:
        pairs = judge.read(table)
        judged = report.Judged(pairs, *judge.card(pairs))
    elif truth or judge.by_scorecard:
        raise click.UsageError("--truth, --dream and --leaderboard go with --predictions.")
    out = out or run_dir / rundir.REPORT
    report.write(run_dir, out, judged, overwrite=overwrite)
    click.echo(str(out))
    if opens:
        click.launch(str(out))
