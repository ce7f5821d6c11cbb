"""Each wrong beginning ends in words that tell what is wrong, and before a provider has an agreement.

`python tests/ray/test_beginnings.py --accept` writes what is said today to `beginnings.txt`.
"""

from __future__ import annotations

import concurrent.futures
import pathlib
import re
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from beginnings import BEGINNINGS, Beginning  # noqa: E402

MESSAGES = pathlib.Path(__file__).parent / "beginnings.txt"
AT_A_TIME = 3


def page(beginning: Beginning, code: int, text: str) -> str:
    """One wrong beginning, as `beginnings.txt` tells it."""
    lines = "".join(f"    {line}".rstrip() + "\n" for line in text.splitlines())
    return f"== {beginning.what}\n$ {' '.join(beginning.command)}\n{lines}exit code {code}\n"


def pages() -> list[str]:
    """What `beginnings.txt` tells, one wrong beginning each."""
    return re.split(r"^(?=== )", MESSAGES.read_text(), flags=re.MULTILINE)[1:]


def play_all() -> list[tuple[Beginning, int, str, int]]:
    """Tries all of them, some at a time."""
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        return [(it, *played) for it, played in zip(BEGINNINGS, pool.map(Beginning.play, BEGINNINGS))]


class Beginnings(unittest.TestCase):
    """All wrong beginnings."""

    maxDiff = None

    def test_each_is_told_before_anything_is_rented(self) -> None:
        """What is said is what `beginnings.txt` says; no traceback, no success, no agreement."""
        known = {page.splitlines()[0]: page.strip() for page in pages()}
        for beginning, code, text, agreements in play_all():
            with self.subTest(beginning.what):
                self.assertEqual(page(beginning, code, text).strip(), known.get(f"== {beginning.what}"))
                self.assertNotIn(code, (0, 124))
                self.assertNotIn("Traceback", text)
                self.assertEqual(agreements, 0)

    def test_there_are_as_many_pages_as_beginnings(self) -> None:
        """No page of an earlier beginning is left."""
        titles = [page.splitlines()[0] for page in pages()]
        self.assertEqual(titles, [f"== {it.what}" for it in BEGINNINGS])


if __name__ == "__main__":
    if "--accept" in sys.argv:
        MESSAGES.write_text("\n".join(page(it, code, text) for it, code, text, _ in play_all()))
    else:
        unittest.main()
