"""What may be reported: only what was measured at a commit that can be checked out."""

import json
from pathlib import Path


def measured(path: Path) -> dict:
    """What a file of results holds."""
    found = json.loads(path.read_text(encoding="utf-8"))
    check_clean(path, found["commit"])
    return found


def check_clean(path: Path, commit: str | None) -> None:
    """Refuses to report what no checkout can repeat."""
    if not commit or commit.endswith("-dirty"):
        raise SystemExit(f"{path}: a reported run needs a clean checkout. Received: {commit}.")
