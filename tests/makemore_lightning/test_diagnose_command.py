"""Tests of `train.py diagnose`: what is printed, exit codes, and that no file is left."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from command_line import ROOT, Result, run_in_process, run_in_subprocess

from makemore_lightning.diagnose_command import show

CONFIGS = ROOT / "configs"


def config(lesson: str) -> str:
    return str(CONFIGS / f"{lesson}.yaml")


def diagnose(folder: Path, *arguments: str) -> Result:
    """Runs the command in a folder with a few names; checks that it leaves no file."""
    before = {path.name for path in folder.iterdir()}
    result = run_in_process(
        folder, "diagnose", *arguments, "--data.names=few.txt", "--steps=8"
    )
    assert {path.name for path in folder.iterdir()} == before
    return result


@pytest.fixture
def folder(tmp_path: Path, few_names: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working directory with `few.txt`."""
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def test_a_healthy_config(folder: Path) -> None:
    result = diagnose(folder, f"--config={config('kaiming')}")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("MakemoreModule: health ok")
    assert "network.hidden.tanh0" in result.out
    assert "expected 3.18" in result.out  # ln 24: few.txt has 23 letters
    assert max(map(len, result.out.splitlines())) <= 80


def test_a_sick_config(folder: Path) -> None:
    result = diagnose(folder, f"--config={config('naive')}")
    assert (result.code, result.err) == (2, "")
    assert "fail  initial_loss in the whole model, since step 0" in result.out
    assert "fail  saturation in network.hidden.tanh0" in result.out


def test_the_ladder_as_it_stands_in_the_notes() -> None:
    """With the embedded names: `naive` fails twice, `logits` on saturation, the others pass."""
    expected = {
        "naive": "initial_loss, saturation",
        "logits": "saturation",
        "tanh": "none",
        "kaiming": "none",
        "batchnorm": "none",
        "deep_batchnorm": "none",
    }
    result = run_in_process(
        ROOT, "diagnose", "--compare", *map(config, expected), "--json"
    )
    content = json.loads(result.out)
    rules = {
        Path(path).stem: ", ".join(
            finding["rule"]
            for finding in each["findings"]
            if finding["severity"] != "note"
        )
        or "none"
        for path, each in content.items()
    }
    assert rules == expected
    assert result.code == 2


def test_model_options(folder: Path) -> None:
    healthy = diagnose(folder, f"--config={config('kaiming')}", "--model.init=naive")
    assert healthy.code == 2
    arguments = ("--ignore", "initial_loss", "saturation")
    assert diagnose(folder, f"--config={config('naive')}", *arguments).code == 0


def test_json(folder: Path) -> None:
    result = diagnose(folder, "--json", f"--config={config('naive')}")
    content = json.loads(result.out)
    assert (result.code, content["verdict"]) == (2, "fail")
    assert content["layers"][0]["layer"] == "network.embedding"


def test_json_to_a_file(folder: Path) -> None:
    file = folder / "report.json"
    file.touch()
    result = diagnose(folder, f"--config={config('naive')}", "--json", str(file))
    assert json.loads(file.read_text())["verdict"] == "fail"
    assert "health fail" in result.out


def test_compare(folder: Path) -> None:
    result = diagnose(folder, "--compare", config("naive"), config("kaiming"))
    lines = {line[:24].strip(): line[24:].split() for line in result.out.splitlines()}
    assert lines[""] == ["naive", "kaiming"]
    assert lines["verdict"] == ["fail", "ok"]
    assert float(lines["initial loss"][0]) > 10 > float(lines["initial loss"][1])
    assert lines["expected loss"][0] == lines["expected loss"][1]
    assert result.code == 2
    alone = json.loads(diagnose(folder, "--json", f"--config={config('kaiming')}").out)
    assert f"{alone['initial_loss']:.2f}" == lines["initial loss"][1]


@pytest.mark.parametrize(
    ("verdicts", "relaxed", "strict"),
    [
        ("ok", 0, 0),
        ("warn", 0, 1),
        ("fail", 2, 2),
        ("ok warn", 0, 1),
        ("fail ok", 2, 2),
    ],
)
def test_exit_codes(
    verdicts: str, relaxed: int, strict: int, capsys: pytest.CaptureFixture[str]
) -> None:
    class Judged:
        """Stands for a diagnosis."""

        def __init__(self, verdict: str) -> None:
            self.verdict = verdict

        def metrics(self) -> dict[str, str]:
            return {"verdict": self.verdict}

    results = {f"{i}.yaml": Judged(each) for i, each in enumerate(verdicts.split())}
    for is_strict, code in ((False, relaxed), (True, strict)):
        arguments = SimpleNamespace(json=None, strict=is_strict)
        assert show(results, arguments) == code
    assert capsys.readouterr().out


def test_widths(folder: Path) -> None:
    file = folder / "widths.png"
    file.touch()
    arguments = ("--widths", "16", "32", "64", "--picture", str(file))
    result = diagnose(folder, f"--config={config('kaiming')}", *arguments)
    assert result.code == 0
    header, *rows = result.out.splitlines()
    assert header.split()[1:3] == ["16", "64"]
    assert rows[3].split()[0] == "network.head"
    assert rows[3].split()[-1] == "grows"
    assert file.stat().st_size > 1000
    assert (
        diagnose(
            folder, f"--config={config('kaiming')}", *arguments[:4], "--strict"
        ).code
        == 1
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "diagnose needs a lesson"),
        (("--config=none.yaml",), "--config none.yaml: No such file"),
        (("--compare", "none.yaml"), "--config none.yaml: No such file"),
        ((f"--config={config('naive')}", "--steps=0"), "--steps"),
        ((f"--config={config('naive')}", "--ignore", "odd"), "no rule 'odd'"),
        ((f"--config={config('naive')}", "--widths", "8"), "widths must be two"),
        ((f"--config={config('naive')}", "--picture", "a.png"), "--picture is of"),
        ((f"--config={config('naive')}", "--json", "no/a.json"), "--json no/a.json"),
        ((f"--config={config('naive')}", "--strickt"), "strickt"),
    ],
)
def test_mistakes(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = run_in_process(folder, "diagnose", *arguments, "--data.names=few.txt")
    assert result.code == 2
    assert message in result.err
    assert len(result.err.splitlines()) == 1, result.err
    assert [path.name for path in folder.iterdir()] == ["few.txt"]


def test_help(tmp_path: Path) -> None:
    result = run_in_subprocess(tmp_path, "diagnose", "--help")
    assert result.code == 0
    assert "--compare" in result.out
    assert max(map(len, result.out.splitlines())) <= 120


def test_in_a_process_of_its_own(folder: Path) -> None:
    arguments = ("diagnose", f"--config={config('naive')}", "--data.names=few.txt")
    result = run_in_subprocess(folder, *arguments)
    assert (result.code, result.err) == (2, "")
    assert [path.name for path in folder.iterdir()] == ["few.txt"]
