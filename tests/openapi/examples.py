"""Checks every example of the API's description against its schema.

Usage: examples.py <address or file of the description as JSON>; prints what does not fit and how many examples there are.
"""

import json
import sys
import urllib.request

import jsonschema_rs


def load(place):
    if place.startswith("http"):
        with urllib.request.urlopen(place) as answer:
            return json.load(answer)
    with open(place, encoding="utf-8") as file:
        return json.load(file)


def examples_of(node):
    """The examples beside a node's `schema`, by name."""
    if "example" in node:
        yield "example", node["example"]
    for name, example in node.get("examples", {}).items():
        yield name, example["value"]


def walk(node, path=()):
    """Every (path, schema, example) of the description."""
    if isinstance(node, dict):
        if "schema" in node:
            for name, example in examples_of(node):
                yield (*path, name), node["schema"], example
        for key, value in node.items():
            if key not in ("example", "examples", "schema"):
                yield from walk(value, (*path, key))
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from walk(value, (*path, str(at)))


def main():
    description = load(sys.argv[1])
    good = bad = 0
    for path, schema, example in walk(description):
        # References are resolved from the root, so the schema is added beside the components.
        root = {"allOf": [schema], "components": description["components"]}
        validator = jsonschema_rs.Draft202012Validator(root, validate_formats=True)
        errors = [error.message for error in validator.iter_errors(example)]
        if errors:
            bad += 1
            print("/".join(path), *errors, sep="\n    ")
        else:
            good += 1
    print(f"{good} examples fit, {bad} do not")
    sys.exit(1 if bad or not good else 0)


main()
