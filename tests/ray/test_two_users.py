"""Two users of one machine: neither sees, stops, or steers the other's cluster, and both are told of the port."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import apart  # noqa: E402


class TwoUsers(unittest.TestCase):
    """Users are made by root, where they are gone with the test."""

    def test_two_users_have_a_cluster_each(self) -> None:
        why_not = apart.why_not()
        if why_not:
            # As for the bare machine, root need not be able to do it only where that is said.
            self.assertTrue(os.geteuid() != 0 or os.environ.get("BARE") == "no", why_not)
            print(f"\nTwo users of one machine were NOT tried: {why_not}", file=sys.stderr)
            self.skipTest(why_not)
        tried = subprocess.run(
            apart.command(str(HERE / "two_users.py"), without_network=True),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.assertEqual(tried.returncode, 0, tried.stdout)


if __name__ == "__main__":
    unittest.main()
