"""Each check of a soak finds what it is for: sound books with one thing changed give one sentence."""

from __future__ import annotations

import pathlib
import sys
import unittest
from decimal import Decimal
from typing import Any, Callable

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "ray"), str(ROOT / "python")]

import belongings
import books
import schedule
from belongings import Belongings
from books import Books

OFFER = {
    "golem.com.usage.vector": ["golem.usage.cpu_sec", "golem.usage.duration_sec"],
    "golem.inf.cpu.threads": 4,
    "golem.com.pricing.model.linear.coeffs": [Decimal("0.00001"), Decimal("0.000001"), Decimal("0.01")],
}
LIMITS = {"max_start_price": 0.01, "max_cpu_per_hour_price": 0.036, "max_env_per_hour_price": 0.0036}


def sound() -> Books:
    """Books of one cluster that has paid a note and an invoice of one agreement, and disputed one of another."""
    ledger = {
        "wallet": "9.7",
        "agreements": [
            {"id": "a1", "provider": "p1", "session": "s", "state": "Terminated"},
            {"id": "a2", "provider": "p2", "session": "s", "state": "Terminated"},
            {"id": "a3", "provider": "p3", "session": None, "state": "Cancelled"},
        ],
        "activities": [
            {"id": "v1", "agreement": "a1", "created": "2026-11-30T00:00:00.5Z", "ended": "2026-11-30T02:00:00Z"}
        ],
        "allocations": [{"id": "l1", "total": "5", "isReleased": True}],
        "demands": [{"id": "d1", "hasEnded": True}],
        "networks": [{"id": "n1", "isRemoved": True}],
        "debitNotes": [
            {"id": "b1", "agreement": "a1", "amount": "0.1", "state": "Settled"},
            {"id": "b2", "agreement": "a1", "amount": "0.2", "state": "Received"},
        ],
        "invoices": [
            {"id": "b3", "agreement": "a1", "amount": "0.3", "state": "Settled"},
            {"id": "b4", "agreement": "a2", "amount": "9", "state": "Received"},
        ],
        "payments": [
            {"payee": "p1", "agreement": "a1", "amount": "0.1"},
            {"payee": "p1", "agreement": "a1", "amount": "0.2"},
        ],
    }
    bill = {"cluster_number": 4, "kind": "invoice", "verdict": "accepted", "reason": None}
    bills = [
        {**bill, "bill_id": "b1", "kind": "debit-note", "accepted_glm": "0.1"},
        {**bill, "bill_id": "b3", "accepted_glm": "0.2"},
        {**bill, "bill_id": "b4", "verdict": "disputed", "accepted_glm": "0", "reason": "too much"},
    ]
    agreements = {it: {"offer": {"properties": OFFER}} for it in ("a1", "a2")}
    clusters = {4: {"spent_glm": "0.3", "state": "closed", "disputed_bills": 1}}
    return Books(ledger, Decimal(10), agreements, bills, clusters, {4: Decimal("0.3")}, LIMITS)


class TheBooks(unittest.TestCase):
    """Of the network, and of the product."""

    def found(self, change: Callable[[Books], object]) -> list[str]:
        """What is found after a change."""
        changed = sound()
        change(changed)
        return list(books.differences(changed))

    def test_sound_books_are_the_same(self) -> None:
        self.assertEqual(self.found(lambda _books: None), [])

    def test_what_is_left_open_is_found(self) -> None:
        for kind, key, value, sentence in (
            ("agreements", "state", "Approved", "agreement a1 is Approved"),
            ("activities", "ended", None, "activity v1 runs"),
            ("allocations", "isReleased", False, "allocation l1 of 5 GLM is not released"),
            ("demands", "hasEnded", False, "demand d1 is published"),
            ("networks", "isRemoved", False, "network n1 is not removed"),
        ):
            changed = sound()
            changed.ledger[kind][0][key] = value
            self.assertEqual(list(books.differences(changed)), [sentence])

    def test_a_bill_that_is_not_decided_is_found(self) -> None:
        note = {"id": "b5", "agreement": "a1", "amount": "0.31", "state": "Received"}
        self.assertEqual(
            self.found(lambda it: it.ledger["debitNotes"].append(note)), [], "an invoice has the last word"
        )
        found = self.found(lambda it: it.ledger["debitNotes"].append({**note, "agreement": "a3"}))
        self.assertEqual(found, ["debit note b5 of 0.31 GLM is Received, and not disputed"])
        new = {"id": "b5", "agreement": "a2", "amount": "1", "state": "Received"}
        found = self.found(lambda it: it.ledger["invoices"].append(new))
        self.assertEqual(found, ["invoice b5 of 1 GLM is Received, and not disputed"])

    def test_what_is_called_accepted_and_is_not_is_found(self) -> None:
        found = self.found(lambda it: it.ledger["invoices"][0].update(state="Received"))
        self.assertIn("of agreement a1 0.1 were accepted, and its bills come to 0.3", found)

    def test_a_dispute_has_a_reason_and_is_counted(self) -> None:
        found = self.found(lambda it: it.bills[2].update(reason=None))
        self.assertEqual(found, ["bill b4 is disputed without a reason"])
        found = self.found(lambda it: it.clusters[4].update(disputed_bills=0))
        self.assertEqual(found, ["cluster 4 counts 0 disputes, and its bills 1"])

    def test_a_digit_is_enough(self) -> None:
        last = Decimal("0.000000000000000001")
        for change, count in (
            # The cluster itself, its bills, and the network say something of it, of its agreement, and of the whole.
            (lambda it: it.clusters[4].update(spent_glm=str(Decimal("0.3") + last)), 1),
            (lambda it: it.bills[1].update(accepted_glm=str(Decimal("0.2") + last)), 3),
            (lambda it: it.ledger["payments"][0].update(amount=str(Decimal("0.1") - last)), 3),
            (lambda it: it.ledger["invoices"][0].update(amount=str(Decimal("0.3") + last)), 4),
            (lambda it: it.ledger.update(wallet=str(Decimal("9.7") + last)), 1),
        ):
            self.assertEqual(len(self.found(change)), count)

    def test_money_that_goes_astray_is_found(self) -> None:
        found = self.found(lambda it: it.ledger["payments"][0].update(payee="p2"))
        self.assertEqual(found, ["agreement a1 of p1 was paid to p2"])

    def test_more_than_the_budget_is_found(self) -> None:
        found = self.found(lambda it: it.budgets.update({4: Decimal("0.29")}))
        self.assertEqual(found, ["cluster 4 paid 0.3 of a budget of 0.29"])

    def test_bills_of_a_cluster_without_books_are_found(self) -> None:
        found = self.found(lambda it: it.clusters.clear())
        self.assertIn("cluster 4 has bills, and no books", found)
        found = self.found(lambda it: it.clusters[4].update(state="settling"))
        self.assertEqual(found, ["cluster 4 is settling at the end"])

    def test_more_than_the_prices_allow_is_found(self) -> None:
        found = self.found(lambda it: it.ledger["activities"][0].update(ended="2026-11-30T01:56:00Z"))
        self.assertEqual(found, ["of agreement a1 0.3 were accepted, and at most 0.299050 can have been due"])

    def test_each_price_is_held_to_its_limit(self) -> None:
        for what, limit in LIMITS.items():
            lower = sound()._replace(limits=LIMITS | {what: limit * 0.99})
            self.assertEqual(len(list(books.differences(lower))), 2, f"{what}: of both agreements")
        found = self.found(lambda it: it.agreements.clear())
        self.assertEqual(
            found, ["the daemon does not tell of agreement a1", "the daemon does not tell of agreement a2"]
        )


class WhatTheWebserverHas(unittest.TestCase):
    """At the end, beside what it had at the beginning."""

    BEFORE = Belongings({"socket": 9, "pipe": 2}, 5, 20 << 20, [], {"webserver.log": 900, "daemon.json": 70})

    def found(self, **change: Any) -> list[str]:
        """What is found if this is different at the end."""
        return list(belongings.differences(self.BEFORE, [], self.BEFORE._replace(**change), 10, 3))

    def test_the_same_is_no_difference(self) -> None:
        self.assertEqual(self.found(), [])

    def test_what_leaks_is_found(self) -> None:
        more = {"socket": 9 + belongings.DESCRIPTORS_MORE, "pipe": 3}
        for change in (
            {"descriptors": more},
            {"threads": 14},
            {"memory": 43 << 20},
            {"connections": ["0100007F:1F90 0100007F:C350 01"]},
        ):
            self.assertEqual(len(self.found(**change)), 1, change)

    def test_the_memory_of_a_process_that_worked_for_long_is_measured_by_its_own(self) -> None:
        worked = [20 << 20, 25 << 20, 28 << 20, 24 << 20] + [29 << 20] * 8

        def found(worked: list[int], end: int) -> list[str]:
            after = self.BEFORE._replace(memory=end)
            return list(belongings.differences(self.BEFORE._replace(memory=1 << 20), worked, after, 10, 3))

        self.assertEqual(found(worked, 38 << 20), [])
        self.assertEqual(len(found(worked, 39 << 20)), 1)
        self.assertEqual(len(found([50 << 20] * 12, 65 << 20)), 1)
        # One that has just begun has nothing of its own to be measured by.
        self.assertEqual(found(worked[:6], 17 << 20), [])
        self.assertEqual(len(found(worked[:6], 18 << 20)), 1)

    def test_what_is_kept_for_good_has_a_bound(self) -> None:
        kept = {"bills.sqlite": 1 << 20, "clusters/soak-1.law.json": 900, "webserver.log": 9 << 20}
        self.assertEqual(self.found(files=self.BEFORE.files | kept), [])
        for file, size in (
            ("journal/cluster-3.ndjson", 1),
            ("heads/cluster-3.token", 65),
            ("bills.sqlite", 2 << 20),
            ("daemon.json", 9_000),
            ("journal/common.ndjson", 10 << 20),
        ):
            self.assertEqual(len(self.found(files=self.BEFORE.files | {file: size})), 1, file)
        keys = {f"ray_on_golem_rsa_{at:010x}": 400 for at in range(7)}
        self.assertEqual(len(self.found(files=self.BEFORE.files | keys)), 1)


class TheSchedule(unittest.TestCase):
    """Of a seed."""

    def test_it_comes_from_the_seed_alone(self) -> None:
        self.assertEqual(schedule.mishaps(7, 3600), schedule.mishaps(7, 3600))
        self.assertNotEqual(schedule.mishaps(7, 3600), schedule.mishaps(8, 3600))
        self.assertNotEqual(schedule.deeds(7, 0, 3600), schedule.deeds(7, 1, 3600))

    def test_everything_happens_in_a_minute_too(self) -> None:
        for seconds in (66, 3600):
            self.assertEqual({it.kind for it in schedule.mishaps(7, seconds)}, set(schedule.MISHAPS))
            self.assertEqual({it.kind for it in schedule.deeds(7, 0, seconds)}, set(schedule.DEEDS))

    def test_the_webserver_is_left_alive_at_last(self) -> None:
        late = {it.kind for it in schedule.mishaps(7, 3600) if it.at > 0.7 * 3600}
        self.assertFalse(late & schedule.ENDS_OF_WEBSERVER)
        self.assertTrue(late)


if __name__ == "__main__":
    unittest.main()
