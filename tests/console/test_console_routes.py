"""The console of one of several routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.routes import prepare_routes
from harness.site import site
from harness.until import until
from localcloud.cloud import LocalCloud
from worker.console import server
from worker.console.options import Options
from worker.errors import Fatal
from worker.operate.connect import connect
from worker.settings import load_settings


async def test_it_says_which_route_it_is_about(cloud: LocalCloud, tmp_path: Path) -> None:
    settings = prepare_routes(cloud, tmp_path)
    async with site(cloud, settings=settings, route="films", watches=True) as console:
        assert "route films" in (await console.get("/")).text
        await until(console.here.watch.has_looked.is_set, "a look at the services")
        assert console.here.watch.status is not None
        assert console.here.watch.status.task is not None
        assert console.here.watch.status.task.source_bucket == "films"
    async with site(cloud, settings={}) as console:
        assert "route " not in (await console.get("/")).text


async def test_without_a_route_there_is_no_console(cloud: LocalCloud, tmp_path: Path) -> None:
    named = prepare_routes(cloud, tmp_path)
    settings = load_settings(cloud.settings() | named, None)
    async with connect(settings) as clients:
        with pytest.raises(Fatal, match="a route has to be chosen"):
            server.make(clients, Options("a-token"))
