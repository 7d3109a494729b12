"""constraints.txt: pins that pip still installs after a newer release of anything has appeared."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PINS = Path(__file__).parents[2] / "constraints.txt"
NAMED = re.compile(r"^([a-z0-9-]+)(?:\[([a-z0-9,-]+)\])?==", re.MULTILINE)


def test_a_pin_names_the_extras_that_others_ask_of_it() -> None:
    pinned = {
        name: set(filter(None, extras.split(",")))
        for name, extras in NAMED.findall(PINS.read_text())
    }
    unnamed = []
    for name in pinned:
        try:
            asked = [Requirement(each) for each in metadata.requires(name) or ()]
        except metadata.PackageNotFoundError:
            continue  # for another platform
        for each in asked:
            wanted = pinned.get(canonicalize_name(each.name), set())
            if (
                each.marker is None or each.marker.evaluate({"extra": ""})
            ) and each.extras - wanted:
                unnamed.append(f"{name} asks for {each}")
    # Without them pip looks at the newest release for the extra, and stops: that one has no hash.
    assert not unnamed, "run make lock"
