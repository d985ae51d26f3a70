"""The reference documentation is what the code says, and says something of every component and option."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lossforge import registry
from lossforge.cli import COMMANDS, main
from lossforge.spec import TrainingSpec

SCRIPT = Path(__file__).parents[1] / "docs" / "generate.py"
spec = importlib.util.spec_from_file_location("generate", SCRIPT)
assert spec is not None
assert spec.loader is not None
generate = importlib.util.module_from_spec(spec)
spec.loader.exec_module(generate)

COMPONENTS = [
    (kind, offer.type)
    for kind in registry.KINDS
    for offer in registry.offers(kind)
    if offer.distribution == "lossforge"
]


def test_the_pages_are_current():
    written = {path.name: path.read_text(encoding="utf-8") for path in generate.FOLDER.iterdir()}
    assert written == generate.pages(), "write them with: python docs/generate.py"


def test_the_help_of_a_command_is_what_it_prints(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(generate.WIDTH + 2))
    texts = dict(generate.help_texts())
    assert set(COMMANDS) == {names[1] for names in texts if len(names) == 2}
    for names, text in texts.items():
        with pytest.raises(SystemExit):
            main.main([*names[1:], "--help"], prog_name="lossforge")
        assert capsys.readouterr().out == text + "\n"


@pytest.mark.parametrize(("kind", "name"), COMPONENTS)
def test_every_component_has_an_entry_with_its_source(kind, name):
    page = (generate.FOLDER / f"{kind}.md").read_text(encoding="utf-8")
    entry = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    summary = entry.strip().splitlines()[0]
    assert 12 < len(summary) <= 120
    assert "Source:" in entry
    for option in set(registry.get(kind, name).model_fields) - {"type"}:
        assert f"| `{option}` |" in entry


def test_every_option_of_training_has_a_row_and_a_description_if_its_name_leaves_a_question():
    page = (generate.FOLDER / "training.md").read_text(encoding="utf-8")
    for name, field in TrainingSpec.model_fields.items():
        assert name == "type" or f"| `{name}` |" in page
        assert "_" not in name or field.description or name in ("batch_size", "weight_decay"), name


def test_options_are_described():
    """A name of one plain word may speak for itself; two leave a question."""
    silent = [
        f"{kind}.{name}.{option}"
        for kind, name in COMPONENTS
        for option, field in registry.get(kind, name).model_fields.items()
        if "_" in option and not field.description
    ]
    assert silent == []
