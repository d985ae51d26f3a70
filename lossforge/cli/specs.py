"""``validate`` and ``show``: what a spec says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from lossforge.cli.options import is_preset, json_option, load_spec, spec_argument, trace_spec
from lossforge.errors import LossforgeError, SpecError


@click.command()
@spec_argument
@json_option
@click.pass_context
def validate(context: click.Context, spec: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check a spec and report every mistake with its place.

    Files of 'ablate' and 'compare' and the training.yaml of 'train' are checked as what they are.
    """
    try:
        sort, name, what = _checked(spec, overrides)
    except LossforgeError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"spec": spec, "valid": False, "problems": str(error).splitlines()}, indent=2))
        context.exit(error.exit_code)
    if as_json:
        told = {"spec": spec, "valid": True, "problems": [], "kind": sort, "name": name}
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(f"{spec}: valid ({what})")


def _checked(source: str, overrides: tuple[str, ...]) -> tuple[str, str | None, str]:
    """Return which sort of spec a valid one is, its name, and a line on it."""
    from lossforge.evidence.ablation_run import titled
    from lossforge.provenance import naming_lost_plugins_of
    from lossforge.sizes import refuse_beyond_memory
    from lossforge.spec import AblationSpec, CompareSpec, CorrelateSpec, TrainSpec

    sort = _sort(source)
    if sort == "ablation":
        ablation = AblationSpec.from_yaml(source, overrides)
        for arm, run in ablation.arms(Path(source).parent).items():
            with titled(" / ".join(arm)):
                refuse_beyond_memory(run.search)
        measures = shlex.join(["lossforge", "ablate", source, "--dry-run"])
        variants = f"{ablation.name}: {len(ablation.variants)} variants; their steps are measured by: {measures}"
        return sort, ablation.name, f"ablation {variants}"
    if sort == "train":
        with naming_lost_plugins_of(Path(source)):
            trained = TrainSpec.from_yaml(source, overrides)
        return sort, None, f"training with {', '.join((*(loss.label for loss in trained.losses), *trained.found))}"
    if sort == "compare":
        with naming_lost_plugins_of(Path(source)):
            compared = CompareSpec.from_yaml(source, overrides)
        losses = ", ".join((*compared.found, *(loss.label for loss in compared.published)))
        return sort, compared.name, f"comparison of {losses}"
    if sort == "correlate":
        with naming_lost_plugins_of(Path(source)):
            zoo = CorrelateSpec.from_yaml(source, overrides)
        return sort, zoo.name, f"correlation of {len(zoo.objectives)} objectives over {zoo.zoo.num_losses} losses"
    run = load_spec(source, overrides)
    refuse_beyond_memory(run.search)
    return sort, run.name, f"{run.name}: {run.search.generations} generations"


def _sort(source: str) -> str:
    """Return which sort of spec this is, by the fields that only one has; ``run`` where that cannot be told."""
    from lossforge.spec.text import parse_mapping, read_text

    if is_preset(source) or not Path(source).is_file():  # a pipe, which holds the spec of a run, is read but once
        return "run"
    try:
        fields = parse_mapping(read_text(Path(source)), source).data.keys()
    except SpecError:
        return "run"  # reading it as such tells what is wrong
    if "variants" in fields:
        return "ablation"
    if "search" not in fields and (fields & {"zoo", "objectives", "judging", "tuning"} or {"name", "seeds"} <= fields):
        return "correlate"
    if not fields & {"losses", "found"}:
        return "run"
    return "compare" if fields & {"name", "description", "evidence"} else "train"


@click.command()
@spec_argument
@click.option(
    "--origins/--no-origins",
    "with_origins",
    default=None,
    help="Say where each value comes from, in comments; with --json, in 'origins' beside 'spec'.  "
    "[default: yes, but not in JSON]",
)
@json_option
def show(spec: str, overrides: tuple[str, ...], with_origins: bool | None, as_json: bool) -> None:
    """Print a spec with every default written out, and where each value comes from."""
    traced = trace_spec(spec, overrides)
    if not as_json:
        click.echo(traced.spec.to_yaml() if with_origins is False else traced.to_yaml(), nl=False)
        return
    content = traced.spec.model_dump(mode="json")
    if with_origins:
        content = {
            "spec": content,
            "origins": {".".join(map(str, path)): origin for path, origin in traced.origins.items()},
        }
    click.echo(json.dumps(content, indent=2))
