"""Parses /metrics with Prometheus's own parser: the address as argument, the token in CARBON_METRICS_TOKEN."""

import os
import sys
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families


def problems(families):
    """What is wrong with the families, one sentence each."""
    seen = set()
    for family in families:
        if family.name in seen:
            yield f"{family.name} stands there twice"
        seen.add(family.name)
        if family.type not in ("counter", "gauge", "histogram") or not family.documentation:
            yield f"{family.name} has no type or no help"
        if family.type == "histogram":
            yield from histogram_problems(family)
        if any(not sample.value >= 0 for sample in family.samples):
            yield f"{family.name} has a sample below zero"
    missing = {"carbon_http_requests", "carbon_http_request_duration_seconds", "carbon_object_calls"} - seen
    if missing:
        yield f"{missing} are missing"


def histogram_problems(family):
    """Buckets must be cumulative and end with +Inf, which is the count."""
    series = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        one = series.setdefault(tuple(sorted(labels.items())), {"buckets": []})
        kind = sample.name.removeprefix(family.name)
        if kind == "_bucket":
            one["buckets"].append((float(sample.labels["le"]), sample.value))
        else:
            one[kind] = sample.value
    for labels, one in series.items():
        ends = [end for end, _ in one["buckets"]]
        counts = [count for _, count in one["buckets"]]
        if ends != sorted(ends) or counts != sorted(counts) or ends[-1] != float("inf"):
            yield f"{family.name}{labels} is not cumulative"
        if one.get("_count") != counts[-1] or "_sum" not in one:
            yield f"{family.name}{labels} has no count and sum that fit"


def main():
    request = Request(sys.argv[1], headers={"Authorization": f"Bearer {os.environ['CARBON_METRICS_TOKEN']}"})
    with urlopen(request, timeout=20) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found = list(problems(families))
    print(f"metrics: {len(families)} families, {len(found)} problems")
    sys.exit("\n".join(found) if found else 0)


if __name__ == "__main__":
    main()
