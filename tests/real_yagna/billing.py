"""How a stand-in provider bills: debit notes while an activity runs, then an invoice.

The amounts are the offer's linear price of the time that passed, unless the terms ask for mischief.
A document that the daemon refuses is logged and left at that.
"""

import http.client
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal

INVOICE_TERM_SECONDS = 86_400
PAST_SECONDS = -600
# A daemon that is away or busy is asked again after this long.
PAUSE_SECONDS = 0.2
MISCHIEFS = (
    "duplicate",  # Every document twice.
    "note-before",  # The first note before the requestor hears of its activity.
    "lower-notes",  # Each note below the one before it.
    "negative-notes",  # Notes of less than nothing.
    "past-due",  # Documents that were due before they were written.
    "early-invoice",  # The invoice while the agreement runs, with the first note.
    "second-invoice",  # Another invoice after the invoice.
)


@dataclass
class Account:
    """What one activity owes."""

    agreement: str
    since: float
    until: float = 0.0
    notes: int = 0
    due: Decimal = Decimal(0)


class Billing:
    """The bills of one identity."""

    def __init__(self, identity, terms: dict, log):
        self.identity, self.terms, self.log = identity, terms, log
        self.accounts = {}  # By activity.
        self.closed, self.invoiced = set(), set()
        self.lock = threading.RLock()

    def begin(self, activity: str, agreement: str):
        """An activity was created."""
        with self.lock:
            self.accounts[activity] = Account(agreement, time.time())
            if self._does("note-before"):
                self._note(activity)
        if self.terms["note_seconds"] > 0:
            threading.Thread(target=self._notes, args=[activity], daemon=True).start()

    def end(self, activity: str):
        """An activity was destroyed: its last note follows."""
        with self.lock:
            account = self.accounts.get(activity)
            if account and not account.until:
                account.until = time.time()
                self._note(activity)

    def close(self, agreement: str):
        """An agreement is over: its invoice follows, in time. The daemon tells it once to the
        requestor and once to the provider, who are one to it."""
        if agreement in self.closed:
            return
        self.closed.add(agreement)
        delay = self.terms["invoice_seconds"]
        timer = threading.Timer(delay, self._bill_agreement, args=[agreement])
        timer.daemon = True
        timer.start()

    def _does(self, mischief: str) -> bool:
        return mischief in self.terms["mischief"]

    def _notes(self, activity: str):
        """Notes at their interval until the activity ends."""
        account, interval = self.accounts[activity], self.terms["note_seconds"]
        for number in range(1, 1_000_000):
            time.sleep(max(0.0, account.since + number * interval - time.time()))
            with self.lock:
                if account.until:
                    return
                self._note(activity)
                if self._does("early-invoice"):
                    self._invoice(account.agreement)

    def _bill_agreement(self, agreement: str):
        with self.lock:
            for activity, account in self.accounts.items():
                if account.agreement == agreement:
                    self.end(activity)
            self._invoice(agreement)
            if self._does("second-invoice"):
                self.invoiced.discard(agreement)
                self._invoice(agreement)

    def _price(self, account: Account) -> tuple:
        """What an activity costs so far, and the usage that it is computed of."""
        seconds = round(Decimal((account.until or time.time()) - account.since), 3)
        *rates, start = (Decimal(str(price)) for price in self.terms["coeffs"])
        cost = start + sum(rate * seconds for rate in rates)
        return cost * Decimal(str(self.terms["overcharge"])), [float(seconds)] * len(rates)

    def _note(self, activity: str):
        account = self.accounts[activity]
        account.notes += 1
        account.due, usage = self._price(account)
        amount = account.due
        if self._does("lower-notes"):
            amount = account.due / account.notes**2
        if self._does("negative-notes"):
            amount = -amount
        note = {"activityId": activity, "totalAmountDue": text(amount), "usageCounterVector": usage}
        if self._does("past-due"):
            note["paymentDueDate"] = instant(PAST_SECONDS)
        elif self.terms["payable_seconds"] > 0:
            note["paymentDueDate"] = instant(self.terms["payable_seconds"])
        self._send("debitNotes", "debitNoteId", note)

    def _invoice(self, agreement: str):
        own = {key: it for key, it in self.accounts.items() if it.agreement == agreement}
        if agreement in self.invoiced or not own:
            return
        self.invoiced.add(agreement)
        term = PAST_SECONDS if self._does("past-due") else INVOICE_TERM_SECONDS
        invoice = {
            "agreementId": agreement,
            "activityIds": list(own),
            "amount": text(sum(account.due for account in own.values())),
            "paymentDueDate": instant(term),
        }
        self._send("invoices", "invoiceId", invoice)

    def _send(self, kind: str, key: str, document: dict):
        """Writes a document and sends it, for as long as there is no answer."""
        for _ in range(2 if self._does("duplicate") else 1):
            status, written = self._insist(f"/payment-api/v1/{kind}", document)
            if status != 201:
                self.log(self.identity.name, kind, "refused:", status, written)
                continue
            path = f"/payment-api/v1/{kind}/{written[key]}/send"
            self.log(self.identity.name, kind, written[key], *self._insist(path, None))

    def _insist(self, path: str, body):
        while True:
            try:
                return self.identity.call("POST", path, body, query={"timeout": 15})
            except (OSError, http.client.HTTPException) as error:
                self.log(self.identity.name, "the daemon is away:", error)
                time.sleep(PAUSE_SECONDS)


def instant(seconds_from_now: float) -> str:
    """An instant as the daemon reads it."""
    return (datetime.now(timezone.utc) + timedelta(seconds=seconds_from_now)).isoformat()


def text(amount: Decimal) -> str:
    """An amount without an exponent, to one attoGLM."""
    return f"{round(amount, 18):f}"
