"""Every command of every document does what the document says, or the document says why not here."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.dockerfile import ROOT
from harness.documents import DOCUMENTS, Block, blocks, spans
from harness.ops import pulse, put_letter, put_object, put_pulse
from harness.reader import reading
from localcloud.cloud import LocalCloud
from worker import __version__

# What a reader needs who has more than this machine, and the programs that need it.
NEEDS = {
    "the real clouds": "terraform",
    "a cluster": "kubectl|helm",
    "a container engine": "docker|buildah",
    "root": "sudo|sudoedit|systemctl",
    "the address of this repository": "git clone",
}
# What each command prints here, at least in part. The targets of make are only shown to exist, or tests
# would run tests: `test` is what runs this, `demo` is tests/process/test_demo.py, `proof` and `soak` are
# tests/simulation and tests/process in short, `replay` is what a failed world prints.
PRINTED = {
    r"^make ": r"(?s).",
    r"^cat >> \.env": r"^$",
    r"^cat > \.env": r"(?s)^\w+=.*SYNC_URL=http://127\.0\.0\.1:.*\n$",
    r"^curl .*/readyz": r'"status": ?"ready"',
    r"(worker|oms-relay) run": r'"status": ?"ready"',
    r"honcho start": r'"status": ?"ready"',
    r"(worker|oms-relay) console(?!.*--read-only)": r"(?s)<title>.*console\.css",
    r"console.* --read-only": r"(?s)<title>.*[Rr]ead.only",
    r"oms-relay doctor": r"(?s)^ok +settings .*\n(28 ok, 3|34 ok, 2) skipped\.\n$",
    r"oms-relay status": r"(?s)queue +.*oss-events.*OMS task +SYNCHRONIZING.*worker",
    r"oms-relay dead groups": r"4 letters in 2 groups",
    r"oms-relay records find first": r"accepted",
    r"oms-relay reconcile my-photos --with records": r"(?m)^\+ +0 without a record$",
    r"oms-relay reconcile my-photos --with destination": r"(?m)^\+ +0 +0 B  missing in the destination$",
    r"--send --dry-run": r"(?m)^0 events would be sent\.",
    r"--send --yes": r"(?m)^0 of 0 gaps were sent",
    r"--delete-extra --dry-run": r"(?m)^There is nothing to delete\.$",
    r"^oms-relay records failed .*> ": r'^\{"key": "lost/1.jpg".*\n\{"key": "lost/2.jpg".*\n$',
    r"replay\.py .*--dry-run": r"^lost/1\.jpg\nlost/2\.jpg\n$",
    r"replay\.py (?!.*--dry-run)": r"^2 keys announced again\n$",
    r"ossutil cp": r"^hello\n$",
    r"envsubst": r"^[^$]*oss:\*:\*:my-log/oms_source_record[^$]*$",
    r"pytest tests/unit/test_keys": r"\d+ passed",
}
EXTERNAL = ("curl", "envsubst", "make")


def shell(document: Path) -> list[Block]:
    return [block for block in blocks(document) if block.language == "sh"]


def runnable(document: Path) -> list[str]:
    """The statements of its blocks, and commands between its words that nothing else would carry out."""
    inline = [each for each in spans(document) if each.startswith(("honcho ", ".venv/bin/pytest "))]
    typed = [each for block in shell(document) if not block.needs for each in block.statements]
    return [*typed, *inline]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


FOLLOWED = [each for each in DOCUMENTS if runnable(each)]
BLOCKS = [block for document in DOCUMENTS for block in shell(document)]


def inhabited(cloud: LocalCloud) -> None:
    """Make what the documents name: queues, buckets, a worker, dead letters, and records that were lost."""
    cloud.prepare(
        source_bucket="my-photos", log_bucket="my-log-bucket", dead_letter_queue="oss-events-dead"
    )
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for number in range(3):
        put_letter(cloud, number, day=today)
    put_letter(cloud, 9, day=today, cause="undecodable", error="no JSON")
    for number in (1, 2):
        put_object(cloud, f"failed_object/lost/{number}.jpg", b"")
    put_pulse(cloud, pulse(1, version=__version__))


@pytest.mark.parametrize("document", FOLLOWED, ids=named)
async def test_every_command_does_what_the_document_says(
    document: Path, cloud: LocalCloud, tmp_path: Path
) -> None:
    statements = runnable(document)
    absent = [each for each in EXTERNAL if each in str(statements) and not shutil.which(each)]
    if absent:
        pytest.skip(f"not on this machine: {absent}")
    inhabited(cloud)
    async with reading(cloud, tmp_path) as reader:
        for statement in statements:
            expected = [PRINTED[each] for each in PRINTED if re.search(each, statement)]
            assert expected, f"{statement!r}: PRINTED must say what it prints"
            printed = await reader.type(statement)
            for each in expected:
                assert re.search(each, printed), f"{statement}\n{printed}"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_every_block_is_shell(block: Block) -> None:
    command = ["bash", "-n", "-c", block.text]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.needs], ids=lambda b: b.place)
def test_only_what_cannot_be_done_here_is_marked(block: Block) -> None:
    assert block.needs in NEEDS
    program = re.compile(rf"(^|&& )({NEEDS[block.needs]}) ")
    assert [each for each in block.statements if not program.search(each)] == []


@pytest.mark.parametrize("block", [each for each in BLOCKS if each.needs], ids=lambda b: b.place)
def test_files_named_in_what_is_marked_exist(block: Block) -> None:
    for path in re.findall(
        r"(?<![\w/])(?:deploy|docs|worker|localcloud|tests)/[\w./-]+", block.text
    ):
        assert (ROOT / path).exists(), path


def test_the_documents_are_followed() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/setup.md", "docs/runbook.md"} <= set(
        map(named, FOLLOWED)
    )
    unused = [
        each
        for each in PRINTED
        if not any(re.search(each, text) for document in FOLLOWED for text in runnable(document))
    ]
    assert unused == []
