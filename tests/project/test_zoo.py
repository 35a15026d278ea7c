"""Tests of the zoo of trainings, its split, its mutations, and the counts of its table."""

import random
from typing import Any

import pytest
import torch

pytest.importorskip("sklearn", reason="most data of the zoo are scikit-learn's")

from zoo import FAULTS, MODELS, Case, cases_of
from zoo.mutations import MUTATIONS, mutations
from zoo.runs import Run, execute, titles
from zoo.split import HELD_OUT, PARTS, UNSEEN, part_of
from zoo.training import LossRecord, Training, build, fit

ALL = [case for part in PARTS for case in cases_of(part, 1)]


def cases() -> list[Any]:
    """Returns all cases as parameters; of the faults on several models, all but the first are slow."""
    params, names = [], set()
    for case in ALL:
        slow = case.kind == "fault" and case.name in names
        names.add(case.name)
        marks = [pytest.mark.slow] if slow else []
        params.append(pytest.param(case, id=case.title, marks=marks))
    return params


def losses_of(case: Case, steps: int) -> list[float]:
    record = LossRecord()
    fit(build(case.make, 1), [record], steps)
    return record.losses


@pytest.mark.parametrize("case", cases())
@pytest.mark.filterwarnings("ignore")
def test_trains(case: Case) -> None:
    losses = losses_of(case, 2)
    assert len(losses) == 2


def test_the_seed_decides() -> None:
    case = Case("healthy", "mlp_dropout", MODELS["mlp_dropout"])
    assert losses_of(case, 4) == losses_of(case, 4)


class TestSplit:
    """Each model is in one part; tuning and held-out have all families and kinds of faults."""

    def test_no_model_is_in_two(self) -> None:
        models = [{case.model.name for case in cases_of(part, 1)} for part in PARTS]
        assert sum(map(len, models)) == len(MODELS)
        assert set().union(*models) == set(MODELS)

    def test_names_are_models(self) -> None:
        assert set(MODELS) > HELD_OUT | UNSEEN
        assert not HELD_OUT & UNSEEN

    @pytest.mark.parametrize(
        "family", sorted({each.family for each in MODELS.values()})
    )
    def test_is_balanced(self, family: str) -> None:
        parts = [
            part_of(each.name) for each in MODELS.values() if each.family == family
        ]
        assert abs(parts.count("tuning") - parts.count("held-out")) <= 1

    def test_faults_are_in_both(self) -> None:
        tuning, held_out, unseen = (
            {case.name for case in FAULTS if case.part == part} for part in PARTS
        )
        assert tuning == held_out
        assert not unseen & tuning

    def test_sizes(self) -> None:
        assert len(MODELS) >= 40
        assert len({case.name for case in FAULTS}) >= 30

    def test_size_of_the_unseen(self) -> None:
        faults = [case for case in FAULTS if case.part == "unseen"]
        assert len(UNSEEN) >= 34
        assert len(faults) >= 60
        assert len({case.name for case in faults}) >= 30

    def test_mutations_are_drawn_from_their_part(self) -> None:
        for part in PARTS:
            for seed in range(20):
                assert {case.part for case in mutations(part, seed)} == {part}


def parameters(training: Training) -> dict[str, torch.Tensor]:
    return {name: param.detach() for name, param in training.module.named_parameters()}


class TestMutations:
    """A mutation changes what it says and nothing else."""

    @staticmethod
    def mutated(name: str, model: str) -> tuple[dict[str, Any], set[str], Case]:
        mutate, rules, silent, _ = MUTATIONS[name]
        sick = mutate(MODELS[model], random.Random(3))
        places = frozenset(sick.places)
        case = Case(
            "mutation", name, MODELS[model], tuple(sick.breaks), rules, places, silent
        )
        before = parameters(build(MODELS[model].make, 1))
        after = parameters(build(case.make, 1))
        changed = {
            each for each in before if not torch.equal(before[each], after[each])
        }
        return {key: (before[key], after[key]) for key in changed}, set(before), case

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("weights_x30", "weight"),
            ("bias_minus_20", "bias"),
        ],
    )
    def test_of_one_parameter(self, name: str, kind: str) -> None:
        changed, _, case = self.mutated(name, "mlp_relu")
        ((param, (before, after)),) = changed.items()
        assert param.endswith(kind)
        assert param.rpartition(".")[0] in case.places
        expected = {
            "weights_x30": before * 30,
            "bias_minus_20": before - 20,
        }
        torch.testing.assert_close(after, expected[name])

    def test_all_weights(self) -> None:
        changed, _, _ = self.mutated("all_weights_x_thirtieth", "mlp_kaiming")
        layers = MODELS["mlp_kaiming"].hidden
        assert set(changed) == {f"{layer}.weight" for layer in layers}
        for before, after in changed.values():
            torch.testing.assert_close(after, before / 30)

    def test_constant_layer(self) -> None:
        changed, _, case = self.mutated("layers_constant", "mlp_relu")
        layers = {param.rpartition(".")[0] for param in changed}
        assert len(layers) == 2
        assert layers < case.places

    @pytest.mark.parametrize(
        "name",
        [
            name
            for name in MUTATIONS
            if not name.startswith(("weights", "all", "bias", "layers_c"))
        ],
    )
    def test_leaves_the_parameters(self, name: str) -> None:
        model = "mlp_dropout" if name == "layers_in_eval" else "mlp_relu"
        changed, _, _ = self.mutated(name, model)
        assert not changed

    @pytest.mark.parametrize("model", ["mlp_relu", "mlp_tanh"])
    def test_detached_layer_gets_no_gradient(self, model: str) -> None:
        mutate, *_ = MUTATIONS["layer_detached"]
        sick = mutate(MODELS[model], random.Random(0))
        case = Case("mutation", "layer_detached", MODELS[model], tuple(sick.breaks))
        training = build(case.make, 1)
        fit(training, [], 2)
        without = {
            name
            for name, param in training.module.named_parameters()
            if param.grad is None
        }
        assert {name.rpartition(".")[0] for name in without} == set(sick.places)

    @pytest.mark.parametrize("name", ["half_of_the_parameters", "rate_zero"])
    def test_layer_that_does_not_move(self, name: str) -> None:
        sick = MUTATIONS[name][0](MODELS["mlp_relu"], random.Random(0))
        case = Case("mutation", name, MODELS["mlp_relu"], tuple(sick.breaks))
        training = build(case.make, 1)
        before = {key: value.clone() for key, value in parameters(training).items()}
        fit(training, [], 2)
        after = parameters(training)
        still = {
            key.rpartition(".")[0]
            for key in before
            if torch.equal(before[key], after[key])
        }
        assert still == set(sick.places) - {""}


def test_an_exception_is_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(*_: Any) -> Any:
        raise RuntimeError("of the watcher")

    monkeypatch.setattr("zoo.runs.WATCHERS", {"wrong": raises})
    outcome = execute(Run("tuning", 1, "healthy/mlp_relu", "wrong", 1))
    assert (outcome.verdict, outcome.error) == ("error", "RuntimeError: of the watcher")


def test_titles_are_unique_and_chosen_by_text_or_pattern() -> None:
    names = titles("tuning", 1, None)
    assert len(set(names)) == len(names)
    assert titles("tuning", 1, "healthy/mlp_relu") == ["healthy/mlp_relu"]
    assert titles("tuning", 1, "healthy/mlp_*") == [
        name for name in names if "healthy/mlp_" in name
    ]
