"""Tables of outcomes, in Markdown."""

from collections import Counter
from collections.abc import Iterable

from rich import box
from rich.markup import escape
from rich.table import Table

from .outcome import Outcome
from .score import scores

LEGEND = """\
found: the verdict is not ok. rule: a rule that names the cause is among the three most severe findings (warn or fail).
place: likewise a layer or parameter where the cause is ("" = the whole model). both: one of the three has rule and
place. NaN: the first alarm of a NaN or an infinity has the exact step and layer. Notes are no alarms. A row counts the
runs of all seeds."""


def new_table(title: str, *columns: str) -> Table:
    """Returns an empty table whose columns after the first are narrow."""
    table = Table(title=title, box=box.MARKDOWN, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def grouped(outcomes: Iterable[Outcome]) -> dict[tuple[str, str, str], list[Outcome]]:
    """Groups the outcomes of all seeds by kind, case and model; mutations by kind and case."""
    groups: dict[tuple[str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        model = "drawn" if outcome.kind == "mutation" else outcome.model
        groups.setdefault((outcome.kind, outcome.case, model), []).append(outcome)
    return groups


def alarms_of(outcomes: list[Outcome], most: int = 4) -> str:
    """Returns the most frequent alarms with their places and counts."""
    counts = Counter(
        (each["severity"], each["rule"], each["where"])
        for outcome in outcomes
        for each in outcome.top
    )
    words = []
    for (severity, rule, where), count in counts.most_common(most):
        words.append(f"{rule}({severity[0]}) {where or 'model'} x{count}")
    return "; ".join(words)


def case_table(outcomes: list[Outcome]) -> Table:
    """Returns a row a fault or mutation."""
    columns = ("case", "runs", "found", "rule", "place", "both", "NaN", "alarms")
    table = new_table("Sick trainings", *columns)
    for (kind, case, model), runs in grouped(outcomes).items():
        if kind == "healthy":
            continue
        counts = [
            sum(each.is_noticed for each in runs),
            sum(each.has_rule for each in runs),
            sum(each.has_place for each in runs),
            sum(each.has_both for each in runs),
        ]
        nan = sum(each.has_first_nan for each in runs) if runs[0].nan_steps else ""
        cells = [f"{kind}/{case}@{model}", len(runs), *counts, nan, alarms_of(runs)]
        table.add_row(*(escape(str(cell)) for cell in cells))
    return table


def healthy_table(outcomes: list[Outcome]) -> Table:
    """Returns a row a healthy model."""
    table = new_table("Healthy trainings", "model", "runs", "fail", "warn", "alarms")
    for (kind, case, _), runs in grouped(outcomes).items():
        if kind == "healthy":
            verdicts = [each.verdict for each in runs]
            counts = len(runs), verdicts.count("fail"), verdicts.count("warn")
            cells = [case, *counts, alarms_of(runs)]
            table.add_row(*(escape(str(cell)) for cell in cells))
    return table


def false_alarm_table(outcomes: list[Outcome]) -> Table:
    """Returns a row an alarm in a healthy training, with its numbers."""
    columns = ("model", "seed", "severity", "rule", "where", "steps", "message")
    table = new_table("False alarms", *columns)
    for outcome in outcomes:
        if outcome.kind != "healthy":
            continue
        for each in outcome.alarms:
            steps = f"{each['step']}-{each['last_step']}"
            cells = [outcome.model, outcome.seed, each["severity"], each["rule"]]
            cells += [each["where"], steps, each["message"]]
            table.add_row(*(escape(str(cell)) for cell in cells))
    return table


def missed_table(outcomes: list[Outcome]) -> Table:
    """Returns a row a run whose cause is not among the top findings, with the findings there are."""
    columns = ("case", "seed", "verdict", "expected", "places", "findings")
    table = new_table("Missed, or not with the right rule and place", *columns)
    for each in outcomes:
        right = each.has_rule and each.has_place
        if each.kind == "healthy" or (
            right and (each.has_first_nan or not each.nan_steps)
        ):
            continue
        places = ", ".join(place or "model" for place in each.places[:4])
        rows = [described(finding) for finding in each.top]
        cells = [f"{each.case}@{each.model}", each.seed, each.verdict]
        cells += [", ".join(each.rules), places, each.error or "; ".join(rows)]
        table.add_row(*(escape(str(cell)) for cell in cells))
    return table


def described(finding: dict) -> str:
    """Returns a finding in a few words, with its number beside its limit."""
    value, limit = finding.get("value"), finding.get("limit")
    numbers = f" {value:.3g} ({limit:.3g})" if None not in (value, limit) else ""
    place = finding["where"] or "model"
    return f"{finding['rule']}({finding['severity'][0]}) {place} @{finding['step']}{numbers}"


def comparison_table(columns: dict[str, list[Outcome]]) -> Table:
    """Returns the totals of several watchers, a column each."""
    table = new_table("The same trainings under other packages", "", *columns)
    counts = {watcher: scores(outcomes) for watcher, outcomes in columns.items()}
    for name in next(iter(counts.values())):
        table.add_row(name, *(str(score[name]) for score in counts.values()))
    seconds = [sum(each.seconds for each in rows) for rows in columns.values()]
    table.add_row("seconds", *(f"{number:.0f}" for number in seconds))
    return table


def score_table(title: str, outcomes: list[Outcome]) -> Table:
    """Returns the totals."""
    table = new_table(title, "", "runs")
    for name, score in scores(outcomes).items():
        table.add_row(name, str(score))
    seconds = sum(each.seconds for each in outcomes)
    table.add_row("seconds, all runs", f"{seconds:.0f}")
    bare = sum(each.bare_seconds for each in outcomes)
    if bare:
        table.add_row("x the same fits unwatched", f"{seconds / bare:.2f}")
    return table
