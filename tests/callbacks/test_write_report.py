"""Tests of write_report and compare_runs: one file without the network, small, of our runs and of others."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fits import ALL, Regression, every_step, fit, saturated_net, tanh_net
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from callbacks import compare_runs, write_report
from callbacks.page.figures import saturation_maps
from callbacks.page.run import Image, Run, Series

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a healthy and of a saturated run."""
    folder = tmp_path_factory.mktemp("runs")
    for name, make in (("healthy", tanh_net), ("saturated", saturated_net)):
        logger = TensorBoardLogger(folder, name=None, version=name)
        logger.log_hyperparams({"scale": 1 if name == "healthy" else 100})
        fit(lambda make=make: Regression(make()), every_step(ALL), logger=logger)
    return folder


@pytest.fixture(scope="module")
def page(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(runs, tmp_path_factory.mktemp("page") / "report.html")


class Outline(HTMLParser):
    """Keeps tags, ids and addresses of a page, and checks that tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("src", "href", "xlink:href"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_verdicts_and_findings_come_first(page: Path) -> None:
    text = page.read_text()
    beginning, sick = text.split('<section id="run-2"')
    assert "health fail: " in beginning.split("All runs")[0]
    places = [
        sick.index(words)
        for words in (
            "health fail: ",
            "<strong>saturation</strong>",
            "Every layer at every step",
            "Update ratios",
            "Saturation of net.1",
        )
    ]
    assert places == sorted(places)


def test_is_one_file_that_asks_for_nothing(page: Path) -> None:
    outline = Outline(page.read_text())
    assert not outline.open
    for address in outline.addresses:
        assert address.startswith(("#", "data:image/png;base64,")), address
    assert "script" not in outline.tags
    assert "url(http" not in page.read_text()
    assert page.stat().st_size < 3_000_000


def test_each_id_stands_once(page: Path) -> None:
    outline = Outline(page.read_text())
    assert len(outline.ids) == len(set(outline.ids)) > 10
    for address in outline.addresses:
        if address.startswith("#"):
            assert address[1:] in outline.ids


def test_drawings_have_words_and_the_colors_of_the_page(page: Path) -> None:
    text = page.read_text()
    drawings = re.findall(r'<div class="drawing" role="img" aria-label="(.+?)">', text)
    assert len(drawings) == text.count("<svg")
    assert all(len(words) > 30 for words in drawings)
    assert "currentColor" in text
    assert "#010203" not in text


def test_settings_that_differ_are_told(page: Path) -> None:
    assert re.search(
        r"<th scope=\"row\">scale</th><td>1</td><td>100</td>", page.read_text()
    )


def test_twins_for_programs(page: Path) -> None:
    contents = json.loads(page.with_suffix(".json").read_text())
    assert [run["verdict"] for run in contents["runs"]] == ["ok", "fail"]
    rules = {each["rule"] for each in contents["runs"][1]["health"]["findings"]}
    assert "saturation" in rules
    assert "| fail | saturation | net.1 |" in page.with_suffix(".md").read_text()


def test_of_one_run_stands_in_its_folder(runs: Path) -> None:
    path = write_report(runs / "healthy")
    assert path == runs / "healthy" / "report.html"
    assert "Training report: healthy" in path.read_text()


def test_of_a_project_without_these_callbacks(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(20):
            writer.add_scalar("training_loss", 1 / (step + 1), step)
    text = write_report(tmp_path, tmp_path / "page.html").read_text()
    assert "not judged" in text
    assert text.count("<svg") == 1


def test_names_are_escaped(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "<b>&")) as writer:
        writer.add_scalar("loss", 1.0, 0)
    text = write_report(tmp_path, tmp_path / "page.html").read_text()
    assert "<b>&<" not in text
    assert "&lt;b&gt;&amp;" in text


def test_the_page_must_be_html(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be a file that ends in \.html"):
        write_report(runs, tmp_path / "report.pdf")
    assert not list(tmp_path.iterdir())


def test_maps_are_of_the_first_and_the_last_layer_that_is_called() -> None:
    layers = ["net.1", "net.3", "net.11"]  # "net.11" is before "net.3" in the alphabet
    numbers = {f"saturation/{layer}": Series([0], [0.1]) for layer in layers}
    images = {f"saturation_map/{layer}": [Image(0, b"")] for layer in layers[::-1]}
    titles = [each.title for each in saturation_maps(Run("", "", numbers, {}, images))]
    assert titles == ["Saturation of net.1", "Saturation of net.11"]


def test_no_runs() -> None:
    with pytest.raises(ValueError, match="runs is empty"):
        compare_runs([])


def test_compare_runs(runs: Path) -> None:
    table = compare_runs(runs)
    assert [row.verdict for row in table.rows] == ["ok", "fail"]
    assert table.differing_settings == {"scale": [1, 100]}
