"""Showing a finished scikit-learn run: the common table, then throughput and whether the answers were equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ukperf.campaign.sklearn_run import Answer


def show_sklearn(answer: Answer, as_json: bool) -> None:
    """Write suite.json and print the answer to standard output.

    Raises UkperfError (status 2) after printing if not one boot was good.
    """
    import json

    from ukperf.campaign.facts import facts_of
    from ukperf.campaign.learning import throughput
    from ukperf.cli.output import one_page, refuse_if_none_good, refuse_if_not_compared, save_suite
    from ukperf.reports.jsonout import to_json
    from ukperf.reports.table import render
    from ukperf.reports.terminal import stdout_console
    from ukperf.reports.units import number
    from ukperf.stats.summary import by_host, summarize
    from ukperf.text import shell

    result = answer.result
    save_suite(result, facts_of(result.plan, result.records, result.why))
    pages = {}
    for host, records in by_host(result.records).items():
        facts = facts_of(result.plan, result.records, result.why, host)
        summary = summarize(records, result.plan.baseline, result.plan.delta)
        rates = throughput(records)
        if as_json:
            pages[host] = {**to_json(summary, facts), "rows_per_second": rates}
            continue
        render(summary, facts, stdout_console())
        for model, table in rates.items():
            listed = ", ".join(f"{guest} {number(rate)}" for guest, rate in sorted(table.items()))
            print(f"{model}, batch prediction, rows a second: {listed}")
    if as_json:
        more = {"data": dict(answer.data), "notes": list(answer.notes), "run": str(result.folder)}
        print(json.dumps({**one_page(pages), **more}, indent=1, allow_nan=False))
    else:
        for note in answer.notes:
            print(note)
        print(f"Run: {shell(result.folder)}")
    refuse_if_none_good(result)
    refuse_if_not_compared(result)
