import json
import random
import re
from html.parser import HTMLParser

import matplotlib

from lossforge.report import write_report


class Page(HTMLParser):
    """The tags of a page and the text outside of style."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.ids, self.text, self.open = [], [], "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def page_of(directory):
    return Page(write_report(directory).read_text())


def test_every_element_is_closed_and_every_id_is_unique(trained_run):
    page = page_of(trained_run)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_the_verdict_comes_first(trained_run):
    text = page_of(trained_run).text
    verdict = text.index("On digits, resnet8, 3 seeds: the found loss reaches 97.8% against 97.5% for cross_entropy")
    assert verdict < text.index("Results on real data") < text.index("The search") < text.index("schema_version: 1")


def test_the_page_holds_results_search_loss_use_and_repetition(trained_run):
    text = page_of(trained_run).text
    for part in (
        "1 of 3 trainings with mae diverged",
        "95% interval by Welch's t over 3 seeds",
        "24 evaluations in all",
        ">99.99%",
        "n/a",
        'lossforge.load_loss("artifact")',
        "lossforge run 'tiny spec.yaml'",
        "lossforge-extra 2.0",
        "batch_size: 128",
    ):
        assert part in text


def test_the_same_files_give_the_same_bytes(trained_run):
    first = write_report(trained_run).read_bytes()
    with matplotlib.rc_context({"font.size": 20, "lines.linewidth": 5, "axes.grid": False}):
        assert write_report(trained_run).read_bytes() == first
        assert matplotlib.rcParams["font.size"] == 20


def test_nothing_is_fetched_or_executed(trained_run):
    html = write_report(trained_run).read_text()
    assert "http:" not in html
    assert "https:" not in html
    page = Page(html)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe", "image"})
    for tag, attributes in page.tags:
        assert all(not name.startswith("on") for name in attributes)
        for reference in (attributes.get("href"), attributes.get("src")):
            assert reference is None or (tag == "use" and reference.removeprefix("#") in page.ids)
    for target in re.findall(r"url\(#?([^)]*)\)", html):
        assert target in page.ids


def test_colours_come_from_the_style_sheet(trained_run):
    html = write_report(trained_run).read_text()
    style, body = html.split("</style>")
    assert set(re.findall(r"#[0-9a-f]{6}", body)) == set()
    assert set(re.findall(r"var\((--[\w-]+)\)", body)) <= set(re.findall(r"(--[\w-]+):", style))
    assert "prefers-color-scheme: dark" in style


def test_figures_and_tables_are_accessible(trained_run):
    page = page_of(trained_run)
    figures = [attributes for tag, attributes in page.tags if tag == "svg" and "aria-hidden" not in attributes]
    assert len(figures) == 5 + 3  # charts, and a strip for each loss
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in figures)
    assert all(attributes["scope"] in ("row", "col") for tag, attributes in page.tags if tag == "th")


def test_names_are_escaped(trained_run):
    evil = "<script>alert('$x$')</script>"
    for path in (
        trained_run / "manifest.json",
        trained_run / "artifact" / "loss.json",
        trained_run / "training" / "comparison.json",
        trained_run / "history.jsonl",
        trained_run / "spec.yaml",
    ):
        text = path.read_text()
        for name in ("tiny", "mae", "signs", "Linux"):
            text = text.replace(name, evil + name)
        path.write_text(text)
    page = page_of(trained_run)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(evil) > 8


def test_glyphs_that_no_font_has_are_no_trouble(trained_run):
    for path in (trained_run / "artifact" / "loss.json", trained_run / "training" / "comparison.json"):
        path.write_text(path.read_text().replace("tiny", "損失\U0001f525"))
    assert "損失\U0001f525" in page_of(trained_run).text


def test_without_training_the_page_says_so(run_directory):
    page = page_of(run_directory)
    assert "The found loss ranks 99.80% of held-out synthetic pairs" in page.text
    assert "no trainings were compared" in page.text
    assert "Results on real data" not in page.text
    assert len([tag for tag, attributes in page.tags if tag == "svg" and "aria-label" in attributes]) == 3


def test_all_trainings_diverged(run_directory, comparison, add_comparison):
    add_comparison(run_directory, comparison(tiny=[None, None], cross_entropy=[None, None]))
    text = page_of(run_directory).text
    assert "all trainings with the found loss diverged" in text
    assert "Test accuracy of each training" not in text


def test_one_generation_one_seed_one_epoch(run_directory, comparison, add_comparison):
    history = run_directory / "history.jsonl"
    history.write_text(history.read_text().splitlines()[1] + "\n")
    content = comparison(tiny=[1.0], cross_entropy=[1.0])
    for loss in content["losses"]:
        del loss["results"][0]["epochs"][1:]
    add_comparison(run_directory, content)
    assert "takes two finished trainings" in page_of(run_directory).text


def test_nothing_feasible_and_nothing_finite_is_drawn_as_gaps(run_directory):
    history = run_directory / "history.jsonl"
    lines = [json.loads(line) for line in history.read_text().splitlines()]
    for line in lines:
        line |= {"num_feasible": 0, "median_fitness": None, "best_fitness": float("inf")}
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page_of(run_directory)


def test_other_objectives_show_their_own_metrics(run_directory):
    path = run_directory / "artifact" / "loss.json"
    content = json.loads(path.read_text())
    content["held_out"]["metrics"] = {"proxy_error": 0.25}
    content["references"] = [{"loss": "gce(q=0.5)", "fitness": 0.75, "metrics": {"proxy_error": 0.3125}}]
    path.write_text(json.dumps(content))
    text = page_of(run_directory).text
    assert "proxy_error" in text
    assert "gce(q=0.5)" in text
    assert "0.3125" in text
    assert "Ranking:" not in text


def test_wide_ranges_of_fitness_are_drawn_on_a_logarithmic_axis(run_directory):
    history = run_directory / "history.jsonl"
    first = json.loads(history.read_text().splitlines()[1])
    for lowest, labels in ((0.0, {"0", "100"}), (1e-4, {"100"}), (-60.0, {"\N{MINUS SIGN}50"})):
        fitness = (100.0, 0.5, lowest)
        lines = [{**first, "generation": index, "best_fitness": value} for index, value in enumerate(fitness)]
        history.write_text("".join(json.dumps({**line, "median_fitness": 1.0}) + "\n" for line in lines))
        html = write_report(run_directory).read_text()
        chart = html[html.index("Line chart of fitness") : html.index("Gate pass rates")]
        assert labels <= set(re.findall(r">([^<>]+)</text>", chart))


def test_long_histories_stay_small(run_directory):
    history = run_directory / "history.jsonl"
    first = json.loads(history.read_text().splitlines()[1])
    noise = random.Random(0)
    lines = [{**first, "generation": index, "median_fitness": noise.random()} for index in range(3000)]
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert write_report(run_directory).stat().st_size < 200_000


def test_a_point_between_gaps_is_drawn(run_directory):
    history = run_directory / "history.jsonl"
    first = json.loads(history.read_text().splitlines()[0])
    lines = [{**first, "generation": index, "num_feasible": int(index > 7)} for index in range(30)]
    for feasible, dots in ((0, 0), (1, 1)):
        lines[3]["num_feasible"] = feasible
        history.write_text("".join(json.dumps(line) + "\n" for line in lines))
        html = write_report(run_directory).read_text()
        chart = html[html.index("Line chart of fitness") : html.index("Gate pass rates")]
        assert len(re.findall(r"<use [^>]*var\(--series-0\)", chart)) == dots
