"""Three routes in the local cloud: two buckets, a part of one of them, a task for each, and one queue."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from localcloud.cloud import PROJECT_ID, LocalCloud
from localcloud.oms.task import Consistency
from localcloud.oss.events import EventRule

# The bucket, the prefix and the sync task of each route.
ROUTES = {
    "all": ("source", "", "task-all"),
    "new": ("source", "2026/", "task-new"),
    "films": ("films", "", "task-films"),
}
HOME = "queue.oss-events"


def prepare_routes(
    cloud: LocalCloud, folder: Path, more: str = "", prefixes: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Make the buckets and tasks and write the file; return the settings that name it.

    `more` is put at the end of the file, into the table of the last route.
    """
    cloud.prepare(queue="oss-events", task_id="task-all")
    return add_routes(cloud, folder, more, prefixes)


def add_routes(
    cloud: LocalCloud, folder: Path, more: str = "", prefixes: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Like `prepare_routes`, in a cloud that is prepared already."""
    cloud.oss.create_bucket("films")
    cloud.oss.rules.append(EventRule("films", "oss-events"))
    text = ""
    for name, (bucket, prefix, task_id) in ROUTES.items():
        cloud.obs.create_bucket(f"{name}-copy")
        cloud.oms.create_task(
            task_id,
            PROJECT_ID,
            bucket,
            f"{name}-copy",
            consistency_check=Consistency.CRC64,
        )
        text += f'[{name}]\nbucket = "{bucket}"\nprefix = "{(prefixes or {}).get(name, prefix)}"\n'
        text += f'sync_url = "{cloud.oms.events_url(task_id)}"\n\n'
    path = folder / "routes.toml"
    path.write_text(text.rstrip() + f"\n{more}\n")
    return {"SYNC_URL": "", "RELAY_ROUTES": str(path)}


def send(cloud: LocalCloud, *places: str) -> None:
    """Write objects, each named `<bucket>/<key>`, with their place as content."""
    for place in places:
        bucket, _, key = place.partition("/")
        cloud.oss.put(bucket, key, place.encode())


def copies(cloud: LocalCloud) -> dict[str, bytes]:
    """What stands in all destinations, by `<route>/<key>`."""
    found = {}
    for name in ROUTES:
        bucket = cloud.obs.buckets[f"{name}-copy"]
        for key in bucket.keys():  # noqa: SIM118  a bucket is no dict
            stored = cloud.obs.read(f"{name}-copy", key)
            if stored is not None and not key.startswith("oms/"):
                found[f"{name}/{key}"] = stored.data
    return found


def written(cloud: LocalCloud) -> set[str]:
    """The names in the log bucket without the common root."""
    bucket = cloud.oss.buckets["relay-log"]
    return {name.partition("/")[2] for name in bucket.keys()}  # noqa: SIM118  a bucket is no dict
