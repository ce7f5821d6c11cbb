"""The webserver's proof that it knows a token."""

from __future__ import annotations

import unittest

from ray_on_golem import proof

CHALLENGE = "0123456789abcdef" * 4


class ProofTest(unittest.TestCase):
    def test_both_languages_say_the_same(self) -> None:
        """The values are those of `src/server/proof.rs`, too."""
        self.assertEqual(proof.mark("secret"), "a728d28dfd4c12197b2a5c8b28af37aadbe2a93ad489192f95bbff7f54d81595")
        self.assertEqual(
            proof.proof("secret", proof.users(4578), CHALLENGE),
            "74859d6731f1e4f114d2cf21781bd580c734ba57d45a8e3275689628b68b4a52",
        )
        self.assertEqual(
            proof.proof("secret", proof.HEADS, CHALLENGE),
            "ff68fa4c93a3a547e00b0d697fe1ac761343dc7d41eafabc0639156e45fb5636",
        )

    def test_proof_is_for_one_token_one_place_and_one_challenge(self) -> None:
        said = proof.proof("secret", proof.HEADS, CHALLENGE)

        self.assertTrue(proof.is_proven("secret", proof.HEADS, CHALLENGE, said))
        self.assertFalse(proof.is_proven("other", proof.HEADS, CHALLENGE, said))
        self.assertFalse(proof.is_proven("secret", proof.users(4578), CHALLENGE, said))
        self.assertFalse(proof.is_proven("secret", proof.HEADS, proof.challenge(), said))
        for wrong in (None, 7, [], {}, "", said[1:], "ü", "\ud800"):
            with self.subTest(wrong=wrong):
                self.assertFalse(proof.is_proven("secret", proof.HEADS, CHALLENGE, wrong))

    def test_challenge_is_new_each_time(self) -> None:
        self.assertRegex(proof.challenge(), "^[0-9a-f]{64}$")
        self.assertNotEqual(proof.challenge(), proof.challenge())
