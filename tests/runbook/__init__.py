"""Every row of docs/runbook.md, tried by a case: with the fault on, the commands print what the row says."""
