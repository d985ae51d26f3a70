"""Write the reference documentation, a page a kind of component, from the code itself.

python docs/generate.py          write docs/reference
python docs/generate.py --check  say what is not current, and exit with 1
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from lossforge import registry
from lossforge.component import Component
from lossforge.plugins.wording import default_of, first_line, groups_in, source_of, text_of, type_of, values_of
from lossforge.spec import TrainingSpec

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


def pages() -> dict[str, str]:
    """Return the text of each page by its file name; of what comes with lossforge."""
    of_kinds = {f"{kind}.md": "\n".join(_page(kind)) for kind in registry.KINDS}
    return {**of_kinds, "training.md": "\n".join(_training_page())}


def _training_page() -> Iterator[str]:
    yield from ("# Training", "")
    yield "Written by `docs/generate.py` from the code: the options of `training:` in a spec, of `lossforge train --set"
    yield "KEY=VALUE`, and of `lossforge.train(...)` and `lossforge.TrainingSpec(...)` in Python. A group of options"
    yield "may be given by its type alone (`optimizer: adamw`), or without it (`label_noise: {rate: 0.4}`)."
    yield from ("", *text_of(TrainingSpec.__doc__))
    yield from _options(TrainingSpec, seen=set())


def _page(kind: str) -> Iterator[str]:
    classes = [registry.get(kind, offer.type) for offer in registry.offers(kind) if offer.distribution == "lossforge"]
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
    yield from text_of(component.__doc__)
    yield from ("", "Source:", "")
    yield from (f"> {line}".rstrip() for line in source_of(component))
    yield from _options(component, seen=set())


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
