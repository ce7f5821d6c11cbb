"""Two sets of books, and what must be so between them: the network's own, and those of the product.

All amounts are exact: text, or numbers of JSON that are read as decimals. Nothing here is forgiven but what the product says it
has disputed, with its reason.
"""

from __future__ import annotations

import collections
import datetime
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

# An agreement that binds neither side, and never will again.
OVER = frozenset({"Terminated", "Cancelled", "Rejected", "Expired"})
PAID = frozenset({"Accepted", "Settled"})
NOTHING = Decimal(0)
SECONDS_PER_HOUR = 3600
# For so long an agreement may be over, by its provider's doing, and the product does not know: while it is not there, or the
# daemon is away.
UNKNOWN_SECONDS = 90


class Books(NamedTuple):
    """Everything that is compared."""

    # `GET /sim/ledger`.
    ledger: dict[str, Any]
    # The wallet before anything was paid.
    wallet: Decimal
    # Each agreement as the daemon tells it, by id.
    agreements: dict[str, Any]
    # `bills --json`.
    bills: list[dict[str, Any]]
    # The last books of each cluster that was seen, by number, as `status --json` has them.
    clusters: dict[int, dict[str, Any]]
    # The most that each might spend, by number.
    budgets: dict[int, Decimal]
    # Price limits of the cluster files, by their keys.
    limits: dict[str, Any]


class Sums(NamedTuple):
    """What came of a cluster, by four who counted."""

    spent: Decimal
    billed: Decimal
    accepted: Decimal
    paid: Decimal


def differences(books: Books) -> Iterator[str]:
    """All that is not as it must be, each in a sentence."""
    yield from left_open(books.ledger)
    yield from unpaid(books)
    yield from untold(books)
    yield from unlike(books)
    yield from misdirected(books)
    yield from above_limits(books)
    yield from overpaid(books)


def left_open(ledger: dict[str, Any]) -> Iterator[str]:
    """What was made at the daemon, and still lives."""
    for it in ledger["agreements"]:
        if it["state"] not in OVER:
            yield f"agreement {it['id']} is {it['state']}"
    for it in ledger["activities"]:
        if it["ended"] is None:
            yield f"activity {it['id']} runs"
    for it in ledger["allocations"]:
        if not it["isReleased"]:
            yield f"allocation {it['id']} of {it['total']} GLM is not released"
    for it in ledger["demands"]:
        if not it["hasEnded"]:
            yield f"demand {it['id']} is published"
    for it in ledger["networks"]:
        if not it["isRemoved"]:
            yield f"network {it['id']} is not removed"


def unpaid(books: Books) -> Iterator[str]:
    """Bills that are neither accepted nor disputed. An invoice that is decided is the last word on its agreement, and a debit note
    that asks for no more than another one says nothing new."""
    reasons = {it["bill_id"]: it["reason"] for it in books.bills if it["verdict"] == "disputed"}
    for bill, reason in reasons.items():
        if not reason:
            yield f"bill {bill} is disputed without a reason"
    accepted = accepted_by_agreement(books.ledger)
    invoiced = set()
    for it in books.ledger["invoices"]:
        if it["state"] in PAID or it["id"] in reasons:
            invoiced.add(it["agreement"])
        elif Decimal(it["amount"]) > NOTHING:
            yield f"invoice {it['id']} of {it['amount']} GLM is {it['state']}, and not disputed"
    for it in books.ledger["debitNotes"]:
        is_decided = it["state"] in PAID or it["id"] in reasons or it["agreement"] in invoiced
        if not is_decided and Decimal(it["amount"]) > accepted[it["agreement"]]:
            yield f"debit note {it['id']} of {it['amount']} GLM is {it['state']}, and not disputed"


def untold(books: Books) -> Iterator[str]:
    """Bills that were accepted, for more than those before them, and that the product does not tell of."""
    agreement_of = {it["id"]: it["agreement"] for kind in ("debitNotes", "invoices") for it in books.ledger[kind]}
    told: dict[str, Decimal] = collections.defaultdict(Decimal)
    for it in books.bills:
        if it["bill_id"] in agreement_of:
            told[agreement_of[it["bill_id"]]] += Decimal(it["accepted_glm"])
    # Bills whose lines were folded before they were taken in are there as their sum.
    summed_up = {it["cluster_number"] for it in books.bills if it["kind"] == "earlier"}
    cluster_of = cluster_of_agreement(books)
    for agreement, amount in accepted_by_agreement(books.ledger).items():
        if amount != told[agreement] and cluster_of.get(agreement) not in summed_up:
            yield f"of agreement {agreement} {amount} were accepted, and its bills come to {told[agreement]}"


def accepted_by_agreement(ledger: dict[str, Any]) -> dict[str, Decimal]:
    """What the network says was accepted; a bill of an agreement has all that was billed before in it."""
    accepted: dict[str, Decimal] = collections.defaultdict(Decimal)
    for it in [*ledger["debitNotes"], *ledger["invoices"]]:
        if it["state"] in PAID:
            accepted[it["agreement"]] = max(accepted[it["agreement"]], Decimal(it["amount"]))
    return accepted


def cluster_of_agreement(books: Books) -> dict[str, int]:
    """Which cluster an agreement is of: a session is a cluster's own, and its bills tell which."""
    agreement_of_bill = {it["id"]: it["agreement"] for kind in ("debitNotes", "invoices") for it in books.ledger[kind]}
    session = {it["id"]: it["session"] for it in books.ledger["agreements"]}
    cluster_of_session = {
        session[agreement_of_bill[it["bill_id"]]]: it["cluster_number"]
        for it in books.bills
        if it["bill_id"] in agreement_of_bill
    }
    return {it: cluster_of_session[of] for it, of in session.items() if of in cluster_of_session}


def sums(books: Books) -> dict[int, Sums]:
    """What came of each cluster that was seen, or billed."""
    cluster_of = cluster_of_agreement(books)
    counted = {
        number: [Decimal(last["spent_glm"]), NOTHING, NOTHING, NOTHING] for number, last in books.clusters.items()
    }
    for number in cluster_of.values():
        counted.setdefault(number, [NOTHING] * 4)
    for it in books.bills:
        counted.setdefault(it["cluster_number"], [NOTHING] * 4)[1] += Decimal(it["accepted_glm"])
    for agreement, amount in accepted_by_agreement(books.ledger).items():
        if agreement in cluster_of:
            counted[cluster_of[agreement]][2] += amount
    for it in books.ledger["payments"]:
        if it["agreement"] in cluster_of:
            counted[cluster_of[it["agreement"]]][3] += Decimal(it["amount"])
    return {number: Sums(*values) for number, values in sorted(counted.items())}


def unlike(books: Books) -> Iterator[str]:
    """Clusters, and the whole, of which the books say different things; and what is above a budget."""
    for number, it in sums(books).items():
        if not it.spent == it.billed == it.accepted == it.paid:
            yield (
                f"cluster {number}: it says that it spent {it.spent}, its bills come to {it.billed}; the network says that "
                f"{it.accepted} were accepted, and {it.paid} paid"
            )
        last, budget = books.clusters.get(number), books.budgets.get(number, NOTHING)
        if last is None:
            yield f"cluster {number} has bills, and no books"
            continue
        if last["state"] != "closed":
            yield f"cluster {number} is {last['state']} at the end"
        if it.paid > budget:
            yield f"cluster {number} paid {it.paid} of a budget of {budget}"
        disputed = sum(bill["verdict"] == "disputed" for bill in books.bills if bill["cluster_number"] == number)
        if last["disputed_bills"] != disputed:
            yield f"cluster {number} counts {last['disputed_bills']} disputes, and its bills {disputed}"
    paid = sum((Decimal(it["amount"]) for it in books.ledger["payments"]), NOTHING)
    billed = sum((Decimal(it["accepted_glm"]) for it in books.bills), NOTHING)
    accepted = sum(accepted_by_agreement(books.ledger).values(), NOTHING)
    lost = books.wallet - Decimal(books.ledger["wallet"])
    if not billed == accepted == paid == lost:
        yield f"in all, bills come to {billed}, {accepted} were accepted, {paid} paid, and the wallet has lost {lost}"


def misdirected(books: Books) -> Iterator[str]:
    """Payments to others than the provider of the agreement, or more than its accepted bills."""
    provider = {it["id"]: it["provider"] for it in books.ledger["agreements"]}
    accepted, paid = accepted_by_agreement(books.ledger), collections.defaultdict(Decimal)
    for it in books.ledger["payments"]:
        paid[it["agreement"]] += Decimal(it["amount"])
        if it["payee"] != provider.get(it["agreement"]):
            yield f"agreement {it['agreement']} of {provider.get(it['agreement'])} was paid to {it['payee']}"
    for agreement, amount in paid.items():
        if amount != accepted[agreement]:
            yield f"agreement {agreement} was paid {amount}, and {accepted[agreement]} were accepted"


def above_limits(books: Books) -> Iterator[str]:
    """Agreements that were sent to a provider at a price that the cluster file does not allow."""
    for it in books.ledger["agreements"]:
        if it["session"] is None:
            continue
        agreement = books.agreements.get(it["id"])
        if agreement is None:
            yield f"the daemon does not tell of agreement {it['id']}"
            continue
        for what, price in prices(agreement["offer"]["properties"]).items():
            if price > Decimal(str(books.limits[what])):
                yield f"agreement {it['id']} has {what[4:].replace('_', ' ')} of {price}, above {books.limits[what]}"


def overpaid(books: Books) -> Iterator[str]:
    """Agreements of which more was accepted than their prices allow with all threads busy, for as long as they may have
    seemed to run: their end is not always known at once."""
    seconds: dict[str, Decimal] = collections.defaultdict(Decimal)
    running = {it["agreement"] for it in books.ledger["activities"] if it["ended"] is None}
    for it in books.ledger["activities"]:
        if it["ended"] is not None:
            seconds[it["agreement"]] += elapsed(it["created"], it["ended"])
    for agreement, amount in accepted_by_agreement(books.ledger).items():
        # What runs, or is not told of, is a difference already.
        if agreement in running or agreement not in books.agreements:
            continue
        offer = books.agreements[agreement]["offer"]["properties"]
        price = prices(offer)
        per_hour = price["max_env_per_hour_price"] + price["max_cpu_per_hour_price"] * offer["golem.inf.cpu.threads"]
        most = price["max_start_price"] + per_hour * (seconds[agreement] + UNKNOWN_SECONDS) / SECONDS_PER_HOUR
        if amount > most:
            yield f"of agreement {agreement} {amount} were accepted, and at most {most} can have been due"


def elapsed(since: str, until: str) -> Decimal:
    """The seconds between two instants of RFC 3339, a part of one more or less."""
    begin, end = (datetime.datetime.fromisoformat(it[:19]) for it in (since, until))
    return Decimal((end - begin).total_seconds())


def prices(offer: dict[str, Any]) -> dict[str, Decimal]:
    """What a provider asks, by the keys of the limits."""
    vector = offer["golem.com.usage.vector"]
    coefficients = [Decimal(it) for it in offer["golem.com.pricing.model.linear.coeffs"]]
    per_second = dict(zip(vector, coefficients))
    return {
        "max_start_price": coefficients[-1],
        "max_cpu_per_hour_price": per_second["golem.usage.cpu_sec"] * SECONDS_PER_HOUR,
        "max_env_per_hour_price": per_second["golem.usage.duration_sec"] * SECONDS_PER_HOUR,
    }


def json_text(document: Any) -> str:
    """A document for people, its amounts as they are."""
    return json.dumps(document, indent=1, default=str)
