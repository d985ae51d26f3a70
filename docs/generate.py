"""Write the reference documentation from the code itself: a page a kind of component, specs, and the command line.

python docs/generate.py          write docs/reference
python docs/generate.py --check  say what is not current, and exit with 1
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import BaseModel

from lossforge import registry
from lossforge.cli import main as command_line
from lossforge.component import Component
from lossforge.plugins.wording import default_of, first_line, groups_in, source_of, text_of, type_of, values_of
from lossforge.spec import (
    AblationSpec,
    CompareSpec,
    EvidenceSpec,
    GateSpec,
    RunSpec,
    SearchSpec,
    StopSpec,
    TrainingSpec,
)
from lossforge.spec.compare import CompareEvidenceSpec

FOLDER = Path(__file__).parent / "reference"
TITLES = {
    "parameterizations": "Families of losses",
    "samplers": "Synthetic samplers",
    "objectives": "Fitness objectives",
    "mutations": "Mutation operators",
    "strategies": "Search strategies",
    "losses": "Published losses",
    "datasets": "Datasets",
    "models": "Models",
}
SECTIONS = {"search": SearchSpec, "search.gates": GateSpec, "search.stop": StopSpec, "evidence": EvidenceSpec}
WIDTH = 88
"""Columns of the help texts: what a code block shows beside the navigation."""


def pages() -> dict[str, str]:
    """Return the text of each page by its file name; of the kinds and components that come with lossforge."""
    of_kinds = {f"{kind}.md": "\n".join(_page(kind)) for kind in registry.KINDS if _offers(kind)}
    others = {"training.md": _training_page(), "spec.md": _spec_page(), "cli.md": _cli_page()}
    return {**of_kinds, **{name: "\n".join(lines) for name, lines in others.items()}}


def _cli_page() -> Iterator[str]:
    yield from ("# Command line", "")
    yield "Written by `docs/generate.py` from the code: what `--help` says of each command. Results go to stdout,"
    yield "progress to stderr. Exit codes: 0 done, 1 crash, 2 bad spec or usage, 3 plugin failure, 130 interrupted."
    for names, text in help_texts():
        yield from ("", f"{'#' * min(1 + len(names), 3)} {' '.join(names)}", "", "```text", text, "```")


def help_texts() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the words of each command and its help, groups before what they hold."""
    context = click.Context(command_line, info_name="lossforge", terminal_width=WIDTH, **command_line.context_settings)
    yield from _help_texts(command_line, context, ("lossforge",))


def _help_texts(
    command: click.Command, context: click.Context, names: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], str]]:
    yield names, command.get_help(context)
    for name in command.list_commands(context) if isinstance(command, click.Group) else ():
        inner = command.get_command(context, name)
        assert inner is not None
        yield from _help_texts(inner, click.Context(inner, parent=context, info_name=name), (*names, name))


def _spec_page() -> Iterator[str]:
    yield from ("# Specs", "")
    yield "Written by `docs/generate.py` from the code: the sections of a spec and their options, `training:` excepted,"
    yield "which has [a page of its own](training.md). `lossforge show SPEC` prints a spec with every default in it."
    yield from _options(RunSpec, seen={*SECTIONS.values(), TrainingSpec})
    for name, model in SECTIONS.items():
        yield from ("", f"## {name}", "", *text_of(model.__doc__))
        yield from _options(model, seen={*SECTIONS.values()})
    yield from (
        "",
        "## Ablations",
        "",
        "The file that `lossforge ablate` is given.",
        "",
        *text_of(AblationSpec.__doc__),
    )
    yield from _options(AblationSpec, seen=set())
    yield from (
        "",
        "## Comparisons",
        "",
        "The file that `lossforge compare` is given.",
        "",
        *text_of(CompareSpec.__doc__),
    )
    yield from _options(CompareSpec, seen={CompareEvidenceSpec, TrainingSpec})
    yield ""
    yield "`evidence:` has the options above; here, there are 10 seeds, tuning and controls unless it says otherwise."


def _training_page() -> Iterator[str]:
    yield from ("# Training", "")
    yield "Written by `docs/generate.py` from the code: the options of `training:` in a spec, of `lossforge train --set"
    yield "KEY=VALUE`, and of `lossforge.train(...)` and `lossforge.TrainingSpec(...)` in Python. A group of options"
    yield "may be given by its type alone (`optimizer: adamw`), or without it (`label_noise: {rate: 0.4}`)."
    yield from ("", *text_of(TrainingSpec.__doc__))
    yield from _options(TrainingSpec, seen=set())


def _offers(kind: str) -> list[registry.Offer]:
    return [offer for offer in registry.offers(kind) if offer.distribution == "lossforge"]


def _page(kind: str) -> Iterator[str]:
    classes = [registry.get(kind, offer.type) for offer in _offers(kind)]
    yield f"# {TITLES[kind]}"
    yield ""
    yield "Written by `docs/generate.py` from the code. A spec names them by `type`; the entry-point group of plugins"
    yield f"is `lossforge.{kind}`."
    yield ""
    yield "| type | |"
    yield "|---|---|"
    for component in classes:
        yield f"| [`{type_of(component)}`](#{type_of(component)}) | {first_line(component)} |"
    for component in classes:
        yield from _entry(component)


def _entry(component: type[Component]) -> Iterator[str]:
    yield from ("", f"## {type_of(component)}", "")
    yield from _with_fences(text_of(component.__doc__), f"from {component.__module__} import {component.__name__}")
    yield from ("", "Source:", "")
    yield from (f"> {line}".rstrip() for line in source_of(component))
    yield from _options(component, seen=set())


def _with_fences(lines: list[str], imports: str) -> Iterator[str]:
    """Yield the lines, the doctests among them in a fence, and before it what its test needs."""
    inside = False
    for line in lines:
        if line.startswith(">>>") and not inside:
            inside = True
            yield from (f"<!-- test: given {imports} -->", "```pycon")
        elif inside and not line:
            inside = False
            yield "```"
        yield line
    if inside:
        yield "```"


def _options(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    fields = {name: field for name, field in model.model_fields.items() if name != "type"}
    if not fields:
        yield from ("", "No options.")
        return
    yield from ("", "| option | values | default | |", "|---|---|---|---|")
    for name, field in fields.items():
        cells = (f"`{name}`", values_of(field), default_of(field), field.description or "")
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    for inner in (inner for field in fields.values() for inner in groups_in(field.annotation)):
        if inner not in seen:
            seen.add(inner)
            yield from ("", f"`{inner.__name__}`: {first_line(inner)}".replace("``", "`"))
            yield from _options(inner, seen)


def main(arguments: list[str]) -> int:
    """Write or check the pages."""
    current = {name: (FOLDER / name).read_text("utf-8") for name in pages() if (FOLDER / name).is_file()}
    stale = {name: text for name, text in pages().items() if current.get(name) != text}
    if "--check" in arguments:
        for name in stale:
            print(f"docs/reference/{name} is not current; write it with: python docs/generate.py")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in stale.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
