"""``validate``, ``show``, ``presets``: specs looked at, and specs with mistakes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from lossforge import presets, registry
from lossforge.errors import PluginLoadError
from lossforge.spec import RunSpec, spec_from_text

THREE_MISTAKES = """\
name: three
search:
  parameterization: classwise_mlp
  sampler: mixture
  objective: ranking_consistency
  strategy: {type: mu_plus_lambda, population_sise: 8}
  mutation: gaussain
  generations: many
"""


class TestValidate:
    def test_a_valid_spec(self, lossforge, search_spec):
        outcome = lossforge("validate", search_spec)
        assert (outcome.code, outcome.err) == (0, "")
        assert "valid" in outcome.out
        assert "4 generations" in outcome.out

    def test_set_is_checked_too(self, lossforge, search_spec):
        outcome = lossforge("validate", search_spec, "--set", "search.generations=7", "--set", "name=other")
        assert outcome.code == 0
        assert "other: 7 generations" in outcome.out

    def test_a_file_of_another_command_is_checked_as_what_it_is(self, lossforge):
        Path("study.yaml").write_text("name: study\nbase: edl\nvariants: {a: {}, b: {}}\nseds: 3\n")
        outcome = lossforge("validate", "study.yaml")
        assert (outcome.code, outcome.err) == (
            2,
            "error: study.yaml:4:1: seds: unknown field (did you mean 'seeds'?)\n",
        )
        Path("study.yaml").write_text("name: study\nbase: edl\nvariants: {a: {}, b: {}}\n")
        assert "lossforge ablate study.yaml --dry-run" in lossforge("validate", "study.yaml").out
        Path("training.yaml").write_text("losses: [gce]\ntraining: {dataset: digits, model: resnet8}\n")
        assert "training.yaml: valid (training with gce)" in lossforge("validate", "training.yaml").out

    def test_a_variant_beyond_memory_is_refused(self, lossforge):
        variants = "{a: {}, b: {search.strategy.population_size: 1000000000}}"
        Path("study.yaml").write_text(f"name: study\nbase: edl\nvariants: {variants}\n")
        outcome = lossforge("validate", "study.yaml")
        assert outcome.code == 2
        assert outcome.err.startswith("error: base / b: search: 1,000,000,000 candidates of 48 numbers take 192.0 GB")

    def test_a_pipe_is_read_once(self, lossforge):
        reading, writing = os.pipe()
        os.write(writing, b"extends: edl\nname: piped\n")
        os.close(writing)
        outcome = lossforge("validate", f"/dev/fd/{reading}")
        os.close(reading)
        assert (outcome.code, outcome.out) == (0, f"/dev/fd/{reading}: valid (piped: 150 generations)\n")

    @pytest.mark.parametrize("command", ["validate", "show", "run"])
    def test_three_mistakes_are_three_located_messages_in_one_pass(self, lossforge, folder, command):
        path = folder / "three.yaml"
        path.write_text(THREE_MISTAKES)
        outcome = lossforge(command, path)
        assert outcome.code == 2
        assert outcome.out == ""
        first, second, third = outcome.err.splitlines()
        assert first.startswith(f"error: {path}:6:36: search.strategy.population_sise: unknown field")
        assert "did you mean 'population_size'?" in first
        assert second.startswith(f"error: {path}:7:13: search.mutation: ")
        assert third.startswith(f"error: {path}:8:16: search.generations: ")
        assert [path.name for path in folder.iterdir()] == ["three.yaml"]

    def test_an_unknown_component_names_the_nearest_and_all_installed(self, lossforge, search_spec):
        outcome = lossforge("validate", search_spec, "--set", "search.mutation=gaussain")
        assert outcome.code == 2
        assert "'gaussain' (did you mean 'gaussian'?)" in outcome.err
        assert "cauchy, chaotic, chaotic_evolution, gaussian" in outcome.err

    @pytest.mark.parametrize(
        ("override", "named"),
        [
            ("search.generatons=3", "did you mean 'generations'?"),
            ("search.generations", "expected KEY=VALUE"),
            ("=3", "expected KEY=VALUE"),
            ("search.generations=0", "search.generations"),
            ("search.mutation.sgima=1", "search.mutation.sgima"),
            ("search.generations=[1", "search.generations"),
        ],
    )
    def test_a_bad_override_is_named_as_it_was_given(self, lossforge, search_spec, override, named):
        outcome = lossforge("validate", search_spec, "--set", override)
        assert outcome.code == 2
        (line,) = outcome.err.splitlines()
        assert line.startswith(f"error: --set {override}")
        assert named in line

    def test_a_spec_that_is_neither_a_file_nor_a_preset(self, lossforge):
        outcome = lossforge("validate", "edll")
        assert outcome.code == 2
        (line,) = outcome.err.splitlines()
        assert "edll: neither a file nor a preset (did you mean 'edl'?)" in line
        assert ", ".join(presets.names()) in line

    def test_a_name_that_no_file_can_have(self, lossforge):
        outcome = lossforge("validate", "x" * 300)
        assert outcome.code == 2
        assert ": neither a file nor a preset; presets: edl" in outcome.err

    def test_a_run_directory_is_no_spec_but_holds_one(self, lossforge, folder, search_spec):
        (folder / "run").mkdir()
        search_spec.rename(folder / "run" / "spec.yaml")
        outcome = lossforge("validate", "run")
        assert outcome.code == 2
        assert "did you mean run/spec.yaml?" in outcome.err

    def test_a_folder_called_like_a_preset_does_not_hide_it(self, lossforge, folder):
        (folder / "edl").mkdir()
        assert lossforge("validate", "edl").code == 0

    def test_a_file_called_like_a_preset_comes_first(self, lossforge, search_spec):
        search_spec.rename("edl")
        assert "tiny" in lossforge("validate", "edl").out

    def test_a_run_of_a_spec_that_extends_a_file_stands_alone(self, lossforge, folder, search_spec):
        (folder / "my.yaml").write_text(f"extends: {search_spec.name}\nname: mine\nsearch: {{generations: 2}}\n")
        assert lossforge("run", "my.yaml", "--out", "run").code == 0
        search_spec.unlink()
        (folder / "my.yaml").unlink()
        text = (folder / "run" / "spec.yaml").read_text()
        assert text.startswith("# yaml-language-server: $schema=lossforge.schema.json\nschema_version: 1\nname: mine\n")
        assert "extends" not in text
        assert "mine: 2 generations" in lossforge("validate", "run/spec.yaml").out
        assert lossforge("resume", "run").code == 0


class TestShow:
    def test_yaml_reads_back_as_the_same_spec_with_every_default(self, lossforge, training_spec):
        outcome = lossforge("show", training_spec)
        assert (outcome.code, outcome.err) == (0, "")
        assert spec_from_text(outcome.out) == RunSpec.from_yaml(training_spec)
        for default in ("momentum: 0.9", "confidence: 0.95", "num_classes: 10", "patience: 50"):
            assert default in outcome.out

    def test_every_line_says_where_its_value_comes_from(self, lossforge, folder):
        (folder / "my.yaml").write_text("extends: edl\nname: my\nsearch: {strategy: {sigma: 0.1}}\n")
        outcome = lossforge("show", "my.yaml", "--set", "search.generations=9")
        assert (outcome.code, outcome.err) == (0, "")
        lines = {" ".join(line.split()) for line in outcome.out.splitlines()}
        assert {
            "name: my # my.yaml:2",
            "sigma: 0.1 # my.yaml:3",
            "population_size: 48 # preset edl:19",
            "generations: 9 # --set search.generations=9",
            "device: auto # default",
        } <= lines
        assert spec_from_text(outcome.out) == RunSpec.from_yaml("my.yaml", ["search.generations=9"])
        plain = lossforge("show", "my.yaml", "--no-origins").out
        assert plain == RunSpec.from_yaml("my.yaml").to_yaml()
        assert plain.count("#") == 1

    def test_origins_as_json(self, lossforge, search_spec):
        content = json.loads(lossforge("show", search_spec, "--json", "--origins").out)
        assert content["spec"] == RunSpec.from_yaml(search_spec).model_dump(mode="json")
        assert content["origins"]["search.parameterization.hidden.0"] == f"{search_spec}:3"
        assert content["origins"]["search.gates.patience"] == "default"

    def test_json(self, lossforge, search_spec):
        outcome = lossforge("show", search_spec, "--json", "--set", "search.mutation={type: gaussian}")
        assert outcome.code == 0
        spec = RunSpec.model_validate_json(outcome.out)
        assert spec == RunSpec.from_yaml(search_spec)

    def test_overrides_are_shown(self, lossforge):
        outcome = lossforge("show", "edl", "--set", "search.strategy.sigma=1e-3", "--set", "seed=5")
        shown = spec_from_text(outcome.out)
        assert (shown.search.strategy.sigma, shown.seed) == (1e-3, 5)


class TestSchema:
    def test_it_is_printed_and_written_and_only_a_schema_is_replaced(self, lossforge, folder):
        printed = lossforge("schema")
        assert (printed.code, printed.err) == (0, "")
        schema = json.loads(printed.out)
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
        written = lossforge("schema", "--out", "my schema.json")
        assert (written.code, written.err) == (0, "")
        assert re.fullmatch(r"my schema\.json: the schema of run specs with \d+ components\n", written.out)
        path = folder / "my schema.json"
        assert json.loads(path.read_text()) == schema
        assert lossforge("schema", "--kind", "ablation", "--out", path).code == 0
        assert "AblationSpec" in json.loads(path.read_text())["$defs"]
        path.write_text("precious")
        refused = lossforge("schema", "--out", path)
        assert (refused.code, path.read_text()) == (2, "precious")
        assert "exists already" in refused.err
        assert "nowhere/x.json: cannot be written: No such file" in lossforge("schema", "--out", "nowhere/x.json").err

    def test_what_is_broken_is_left_out_with_a_warning(self, lossforge, monkeypatch):
        def load(offer):
            if offer.type == "gaussian":
                raise PluginLoadError("plugin x 1.0 failed to load")
            return true_load(offer)

        true_load = registry.load
        monkeypatch.setattr(registry, "load", load)
        outcome = lossforge("schema", "--out", "x.json")
        assert outcome.code == 0
        assert outcome.err == "warning: left out: plugin x 1.0 failed to load\n"
        assert outcome.out.endswith("components, 1 left out\n")


class TestPresets:
    def test_list(self, lossforge):
        outcome = lossforge("presets", "list")
        assert outcome.code == 0
        lines = outcome.out.splitlines()
        assert [line.split()[0] for line in lines] == list(presets.names())
        assert all(presets.description(line.split()[0]) in line for line in lines)

    def test_list_json(self, lossforge):
        rows = json.loads(lossforge("presets", "list", "--json").out)
        assert {(row["plugin"], row["problem"]) for row in rows} == {(None, None)}
        assert {row["name"]: row["description"] for row in rows} == {
            name: presets.description(name) for name in presets.names()
        }

    def test_show_prints_the_file_as_it_is(self, lossforge):
        assert lossforge("presets", "show", "edl").out == presets.text("edl")

    @pytest.mark.parametrize("name", presets.names())
    def test_each_is_valid(self, lossforge, name):
        assert lossforge("validate", name).code == 0

    def test_copy_gives_a_file_that_is_valid_and_says_how_to_run_it(self, lossforge, folder):
        outcome = lossforge("presets", "copy", "edl", "my own.yaml")
        assert outcome.code == 0
        first_line, _, rest = (folder / "my own.yaml").read_text().partition("\n")
        assert first_line == "# yaml-language-server: $schema=lossforge.schema.json"
        assert rest == presets.text("edl")
        assert "lossforge run 'my own.yaml'" in outcome.out
        assert outcome.out.splitlines()[1].endswith("completes it: lossforge schema --out lossforge.schema.json")
        assert lossforge("validate", "my own.yaml").code == 0

    def test_copy_never_overwrites(self, lossforge, folder):
        (folder / "mine.yaml").write_text("precious")
        outcome = lossforge("presets", "copy", "edl", "mine.yaml")
        assert outcome.code == 2
        assert "mine.yaml: exists already" in outcome.err
        assert (folder / "mine.yaml").read_text() == "precious"

    def test_copy_into_no_folder(self, lossforge):
        outcome = lossforge("presets", "copy", "edl", "nowhere/mine.yaml")
        assert outcome.code == 2
        assert "nowhere/mine.yaml: cannot be written: No such file" in outcome.err

    @pytest.mark.parametrize("args", [("show", "edll"), ("copy", "edll", "x.yaml")])
    def test_an_unknown_preset(self, lossforge, folder, args):
        outcome = lossforge("presets", *args)
        assert outcome.code == 2
        assert (
            "unknown preset 'edll' (did you mean 'edl'?); presets: edl, edl-calibrated, edl-faithful, edl-noisy"
            in outcome.err
        )
        assert list(folder.iterdir()) == []
