"""What every operation is given to work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from localcloud.mns.store import Store
from localcloud.mns.wire import Style


@dataclass(frozen=True, slots=True)
class Desk:
    """The queues, the look of answers, and whether a custom fault strikes.

    `strikes` takes the operation and the name of the fault.
    """

    store: Store
    style: Style
    strikes: Callable[[str, str], bool]
