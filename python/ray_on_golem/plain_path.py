"""Paths that ssh reads as they are.

In the names of its files ssh replaces what stands after `%` and `~`, and splits at blanks; how it reads quotes and
backslashes has changed from version to version. A file whose path has anything of this is shown to ssh by a link with a
plain name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile

from . import ssh_key

PLAIN = re.compile(r"(~/)?[A-Za-z0-9/._+:,@-]+")


def plain(path: str) -> str:
    """The path, or that of a link to it which lies beside the keys."""
    if PLAIN.fullmatch(path):
        return path
    directory = ssh_key.private_directory()
    link = directory / f"link_{hashlib.sha256(os.fsencode(path)).hexdigest()[:20]}"
    with contextlib.suppress(OSError):
        if os.readlink(link) == path:
            return str(link)
    # In one step: another command may use the link meanwhile.
    with tempfile.TemporaryDirectory(dir=directory) as draft:
        made = os.path.join(draft, link.name)
        os.symlink(path, made)
        os.replace(made, link)
    return str(link)
