#!/usr/bin/env python3
"""Stand-in providers: they sell through the provider's side of the daemon's REST API, and run
activities on its bus.

`provider.py JSON` publishes offers, prints `ready` once all are published, and answers proposals,
agreements, and activities until it is ended. The JSON names the daemon, the identities, and the
terms; `lab.py` writes it.

The daemon never matches an offer and a demand of one identity, hence the identities. After the
daemon has been away the offers are published again: it keeps them in memory only.
"""

import http.client
import json
import os
import signal
import sys
import threading
import time

import rest
from billing import Billing, instant
from bus import Bus
from exe_unit import ExeUnit

POLL_SECONDS = 20
LONG_POLL_PATIENCE = POLL_SECONDS + 10
PAUSE_SECONDS = 0.2
USAGE_SECONDS = 2.0

# What a provider's agent takes over from the demand, and drops where the demand has none.
NEGOTIABLE = (
    "golem.com.payment.debit-notes.accept-timeout?",
    "golem.com.scheme.payu.debit-note.interval-sec?",
    "golem.com.scheme.payu.payment-timeout-sec?",
)
PLATFORMS = (
    "erc20-hoodi-tglm",
    "erc20-holesky-tglm",
    "erc20-polygon-glm",
    "erc20-mainnet-glm",
)


def log(*words):
    """Talks to the log; standard output is for `ready` alone."""
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


class Identity:
    """One provider: a node id and its key."""

    def __init__(self, terms: dict, name: str, node_id: str, key: str):
        self.base, self.name, self.node_id, self.key = terms["api_url"], name, node_id, key
        self.agreements = set()  # Those that we approved.

    def call(self, method: str, path: str, body=None, query=None, timeout=30.0):
        return rest.call(self.base, self.key, method, path, body, query, timeout)


class Seller(threading.Thread):
    """One offer: publishes it and answers whoever asks."""

    def __init__(self, identity: Identity, terms: dict, number: int, refuses: bool):
        super().__init__(daemon=True)
        self.identity, self.terms = identity, terms
        self.name = f"{identity.name}-{number}"
        self.mode = "refuse" if refuses else terms["mode"]
        self.offer = self._offer()
        self.path = None
        self.published = threading.Event()

    def _offer(self) -> dict:
        terms, subnet = self.terms, self.terms["subnet"]
        properties = {
            "golem.activity.caps.transfer.protocol": ["http", "https", "gftp"],
            "golem.com.payment.debit-notes.accept-timeout?": 240,
            "golem.com.payment.protocol.version": 3,
            "golem.com.pricing.model": "linear",
            "golem.com.pricing.model.linear.coeffs": terms["coeffs"],
            "golem.com.scheme": "payu",
            "golem.com.scheme.payu.debit-note.interval-sec?": 120,
            "golem.com.scheme.payu.payment-timeout-sec?": 120,
            "golem.com.usage.vector": ["golem.usage.cpu_sec", "golem.usage.duration_sec"],
            "golem.inf.cpu.architecture": "x86_64",
            "golem.inf.cpu.brand": "Stand-in CPU",
            "golem.inf.cpu.cores": terms["threads"] // 2,
            "golem.inf.cpu.threads": terms["threads"],
            "golem.inf.cpu.vendor": "GenuineIntel",
            "golem.inf.mem.gib": terms["memory"],
            "golem.inf.storage.gib": terms["storage"],
            "golem.node.debug.subnet": subnet,
            "golem.node.id.name": self.name,
            "golem.node.net.is-public": False,
            "golem.runtime.capabilities": ["vpn", "inet", "manifest-support", "start-entrypoint"],
            "golem.runtime.name": "vm",
            "golem.runtime.version": "0.4.0",
            "golem.srv.caps.multi-activity": True,
            "golem.srv.caps.payload-manifest": True,
        }
        for platform in PLATFORMS:
            address = f"golem.com.payment.platform.{platform}.address"
            properties[address] = self.identity.node_id
        constraints = f"(&(golem.srv.comp.expiration>0)(golem.node.debug.subnet={subnet}))"
        return {"properties": properties, "constraints": constraints}

    def run(self):
        while True:
            try:
                self._publish()
                while self._answer_events():
                    pass
            except (OSError, http.client.HTTPException) as error:
                log(self.name, "the daemon is away:", error)
            time.sleep(PAUSE_SECONDS)

    def _publish(self):
        status, answer = self.identity.call("POST", "/market-api/v1/offers", self.offer)
        if status != 201:
            raise OSError(f"offer refused with {status}: {answer}")
        self.path = f"/market-api/v1/offers/{answer}"
        self.published.set()
        log(self.name, "published", answer)

    def withdraw(self):
        """Takes the offer back, if anybody is there to hear it."""
        try:
            self.identity.call("DELETE", self.path, timeout=2.0)
        except (OSError, http.client.HTTPException):
            pass

    def _answer_events(self) -> bool:
        """Answers the next events; false when the daemon knows the offer no more."""
        query = {"timeout": POLL_SECONDS, "maxEvents": 20}
        status, events = self.identity.call("GET", f"{self.path}/events", query=query, timeout=LONG_POLL_PATIENCE)
        if status != 200:
            log(self.name, "lost its offer:", status, events)
            return False
        for event in events:
            if event["eventType"] == "ProposalEvent":
                self._answer_proposal(event["proposal"])
            elif event["eventType"] == "AgreementEvent":
                self._answer_agreement(event["agreement"]["agreementId"])
            else:
                log(self.name, event["eventType"], event.get("reason"))
        return True

    def _answer_proposal(self, proposal: dict):
        if self.mode == "silent":
            return
        path = f"{self.path}/proposals/{proposal['proposalId']}"
        if self.mode == "refuse":
            reason = {"message": self.terms["refusal"], "golem.proposal.rejection.is-final": False}
            answer = self.identity.call("POST", f"{path}/reject", reason)
        else:
            answer = self.identity.call("POST", path, self._counter(proposal["properties"]))
        log(self.name, self.mode, *answer)

    def _counter(self, demand: dict) -> dict:
        properties = {k: v for k, v in self.offer["properties"].items() if k not in NEGOTIABLE}
        properties.update({name: demand[name] for name in NEGOTIABLE if name in demand})
        return {**self.offer, "properties": properties}

    def _answer_agreement(self, agreement: str):
        """Answers after a while, and goes on selling meanwhile."""
        delay = self.terms["agreement_seconds"]
        timer = threading.Timer(delay, self._decide, args=[agreement])
        timer.daemon = True
        timer.start()

    def _decide(self, agreement: str):
        path = f"/market-api/v1/agreements/{agreement}"
        if self.terms["agreements"] == "approve":
            self.identity.agreements.add(agreement)
            answer = self.identity.call("POST", f"{path}/approve", query={"timeout": 15})
        elif self.terms["agreements"] == "refuse":
            reason = {"message": self.terms["refusal"]}
            answer = self.identity.call("POST", f"{path}/reject", reason)
        else:
            answer = ("agreement is ignored",)
        log(self.name, agreement, *answer)


class Follower(threading.Thread):
    """Follows a stream of events of one identity, about the agreements that we approved."""

    path = ""

    def __init__(self, identity: Identity):
        super().__init__(daemon=True)
        self.identity = identity
        self.after = instant(0)

    def run(self):
        while True:
            try:
                self._follow_events()
            except (OSError, http.client.HTTPException):
                time.sleep(PAUSE_SECONDS)

    def _follow_events(self):
        query = {"timeout": POLL_SECONDS, "maxEvents": 20, "afterTimestamp": self.after}
        status, events = self.identity.call("GET", self.path, query=query, timeout=LONG_POLL_PATIENCE)
        if status == 408:  # Nothing happened; other long polls say so by an empty list.
            return
        if status != 200:
            raise OSError(f"{self.path} refused with {status}: {events}")
        for event in events:
            self.after = event["eventDate"]
            if event["agreementId"] not in self.identity.agreements:
                continue  # Another process sells for this identity too.
            # An event with details is an object whose only key is the type.
            kind = event["eventType"]
            self._on_event(kind if isinstance(kind, str) else next(iter(kind)), event)

    def _on_event(self, kind: str, event: dict):
        raise NotImplementedError


class Runner(Follower):
    """The activities of one identity: they reach `Initialized`, take commands, and end when they
    are destroyed."""

    path = "/activity-api/v1/events"

    def __init__(self, identity: Identity, terms: dict, bus):
        super().__init__(identity)
        self.terms, self.bus = terms, bus
        self.units = {}  # By activity.
        self.billing = Billing(identity, terms, log) if terms["bill"] else None

    def _on_event(self, kind: str, event: dict):
        if kind == "CreateActivity":
            self._create(event["activityId"], event["agreementId"])
        elif kind == "DestroyActivity":
            self._destroy(event["activityId"])

    def _create(self, activity: str, agreement: str):
        if self.billing:
            self.billing.begin(activity, agreement)
        if self.terms["activities"] == "ignore":
            return
        # In this order: whoever knows the state asks for the usage.
        self._set_usage(activity)
        node_id = self.identity.node_id
        unit = ExeUnit(activity, node_id, self.terms, lambda state: self._set_state(activity, state))
        self.units[activity] = unit
        self.bus.register(f"/public/exeunit/{activity}", unit.answer)
        self._set_state(activity, "Initialized")
        threading.Thread(target=self._report, args=[activity], daemon=True).start()

    def _report(self, activity: str):
        """Tells the usage until the activity is over: the daemon ends one that says nothing for 10 s."""
        while activity in self.units:
            self._set_usage(activity)
            time.sleep(USAGE_SECONDS)

    def _destroy(self, activity: str):
        if activity in self.units:
            self.units.pop(activity).leave()
        if self.terms["activities"] == "start":
            self.bus.unregister(f"/public/exeunit/{activity}")
            self._set_state(activity, "Terminated")
        if self.billing:
            self.billing.end(activity)

    def _set_state(self, activity: str, state: str):
        body = {"state": [state, None], "reason": None, "errorMessage": None}
        answer = self.identity.call("PUT", f"/activity-api/v1/activity/{activity}/state", body)
        log(self.identity.name, activity, state, *answer)

    def _set_usage(self, activity: str):
        """Nothing was used yet, and nothing ever is; the bus is the only way to tell it."""
        usage = {"currentUsage": [0.0, 0.0], "timestamp": int(time.time())}
        report = {"activityId": activity, "usage": usage, "timeout": None}
        self.bus.report("/local/activity/SetActivityUsage", report)


class Closer(Follower):
    """Has agreements billed that ended, whoever ended them."""

    path = "/market-api/v1/agreementEvents"

    def __init__(self, runner: Runner):
        super().__init__(runner.identity)
        self.billing = runner.billing

    def _on_event(self, kind: str, event: dict):
        if kind == "AgreementTerminatedEvent":
            self.billing.close(event["agreementId"])


def sellers(terms: dict, identities: list) -> list:
    """All offers, numbered across the identities, every n-th of them a refusing one."""
    every = terms["refuse_every"]
    found = []
    for number in range(terms["offers"]):
        for identity in identities:
            refuses = every > 0 and (len(found) + 1) % every == 0
            found.append(Seller(identity, terms, number, refuses))
    return found


def end_with_input():
    """Ends this process when its standard input closes."""
    while sys.stdin.readline():
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main():
    """Sells until SIGTERM or SIGINT, or, on request, until standard input closes."""
    terms = json.loads(sys.argv[1])
    bus = Bus(terms["bus"])
    identities = [Identity(terms, p["name"], p["id"], p["key"]) for p in terms["identities"]]
    runners = [Runner(identity, terms, bus) for identity in identities]
    closers = [Closer(runner) for runner in runners if runner.billing]
    offers = sellers(terms, identities)
    for thread in [*offers, *runners, *closers]:
        thread.start()
    for offer in offers:
        offer.published.wait()
    print("ready", flush=True)

    if terms["hold"]:
        threading.Thread(target=end_with_input, daemon=True).start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    for offer in offers:
        offer.withdraw()


if __name__ == "__main__":
    # Blocked before any thread starts, so that only `sigwait` takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
