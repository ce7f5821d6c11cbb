"""A stand-in for what runs an activity: it takes batches of commands and tells what became of them.

A node is in the networks that it is deployed into if the lab has a central net. On terms with `execute` what is to
be run is run there, on a node with a system of its own. Otherwise nothing is executed: each command takes its time and
succeeds where the activity's state allows it, but for the one that the terms let fail and for `/bin/false`; `/bin/echo`
says what it is told to. What is told, and when, is what the daemon's own execution units tell.
"""

import json
import threading
import time
from datetime import datetime, timezone

import control

# In which state a command is allowed, and in which one it leaves the activity.
COURSE = {
    "deploy": ("Initialized", "Deployed"),
    "start": ("Deployed", "Ready"),
    "run": ("Ready", "Ready"),
}
# Of the devices of virtual machines.
MTU = 1220
DEPLOYED = json.dumps({"startMode": "blocking", "valid": {"Ok": ""}, "vols": []})


class ExeUnit:
    """One activity's."""

    def __init__(self, activity: str, node_id: str, terms: dict, set_state):
        self.activity, self.node_id = activity, node_id
        self.terms, self.set_state = terms, set_state
        self.nodes = []  # The names of nodes in private networks.
        self.state = "Initialized"
        self.scripts, self.results = {}, {}  # By batch.
        self.executed = 0  # Commands of all batches so far.
        self.progress = threading.Condition()
        self.working = threading.Lock()  # One batch at a time.

    def answer(self, message: str, content: dict) -> dict:
        """Answers a call on the bus, in the form that the daemon takes a result in."""
        if message == "Exec":
            return {"Ok": self._exec(content)}
        if message != "GetExecBatchResults":
            return {"Err": {"badRequest": f"the lab's execution unit does not do {message}"}}
        if content["batchId"] not in self.scripts:
            return {"Err": {"notFound": f"batch_id = {content['batchId']}"}}
        return self._collect(content)

    def _exec(self, content: dict) -> str:
        batch = content["batchId"]
        self.scripts[batch] = [command(entry) for entry in content["exeScript"]]
        self.results[batch] = []
        threading.Thread(target=self._work, args=[batch], daemon=True).start()
        return batch

    def _work(self, batch: str):
        with self.working:
            for index, (name, details) in enumerate(self.scripts[batch]):
                time.sleep(self.terms["command_seconds"])
                failure = self._failure(name, details)
                if failure is None and name == "deploy" and self.terms["control"]:
                    failure = self._join(details.get("net", []))
                said = {"stdout": output(name, details), "stderr": None} if failure is None else {}
                if failure is None and name == "run" and self.terms["execute"]:
                    failure, said = self._run([details["entry_point"], *details["args"]])
                if failure is None and name in COURSE:
                    self._become(COURSE[name][1])
                result = {
                    "index": index,
                    "eventDate": datetime.now(timezone.utc).isoformat(),
                    "result": "Ok" if failure is None else "Error",
                    "stdout": said.get("stdout"),
                    "stderr": said.get("stderr"),
                    "message": failure,
                }
                with self.progress:
                    self.executed += 1
                    self.results[batch].append(result)
                    self.progress.notify_all()
                if failure is not None:
                    return
                if name == "terminate":
                    self._become("Terminated")

    def _failure(self, name: str, details):
        """Why the next command fails, or `None` if it succeeds."""
        if self.executed == self.terms["command_fails"]:
            return "ExeScript command exited with code 1"
        if name in COURSE and self.state != COURSE[name][0]:
            return f"Invalid state: {self.state}"
        if name == "run" and details["entry_point"] == "/bin/false" and not self.terms["execute"]:
            return "ExeScript command exited with code 1"
        return None

    def _join(self, networks: list):
        """Starts a node in each network; returns why that fails, or `None`."""
        for number, network in enumerate(networks):
            name = self.activity + (f"-{number}" if number else "")
            kind = "image" if self.terms["execute"] else "plain"
            place = (name, self.node_id, network["id"], network["nodeIp"], MTU, kind)
            try:
                control.order(self.terms["control"], "add", *place, network.get("nodes", {}))
            except (OSError, RuntimeError) as error:
                return f"no device for the network {network['id']}: {error}"
            self.nodes.append(name)
        return None

    def _run(self, argv: list) -> tuple:
        """Runs a program on the node; returns why that fails, or `None`, and what it has said."""
        if not self.nodes:
            return "the lab runs programs on nodes of private networks only", {}
        try:
            said = control.order(self.terms["control"], "run", self.nodes[0], argv)
        except (OSError, RuntimeError) as error:
            return f"the node is gone: {error}", {}
        code = said["code"]
        return (f"ExeScript command exited with code {code}" if code else None), said

    def leave(self):
        """Ends the nodes: the activity is over."""
        while self.nodes:
            try:
                control.order(self.terms["control"], "remove", self.nodes.pop())
            except (OSError, RuntimeError):
                pass  # It is gone with the central net.

    def _become(self, state: str):
        if self.state != state:
            self.state = state
            self.set_state(state)

    def _collect(self, content: dict) -> dict:
        """The results so far, once the command asked for is done or time is up."""
        batch, asked = content["batchId"], content.get("commandIndex")
        last = len(self.scripts[batch]) - 1 if asked is None else asked
        results = self.results[batch]
        with self.progress:
            is_done = self.progress.wait_for(lambda: len(results) > last, timeout=content.get("timeout") or 0)
            if asked is not None and not is_done:
                return {"Err": "timeout"}
            return {"Ok": [self._told(result, asked, last) for result in results[: last + 1]]}

    @staticmethod
    def _told(result: dict, asked, last: int) -> dict:
        """A result as it is told: who asks for one command sees the output of no other, and that
        command as the batch's last."""
        is_last = result["index"] == last or result["result"] == "Error"
        shown = {**result, "isBatchFinished": is_last}
        return shown if asked in (None, result["index"]) else {**shown, "stdout": None}


def output(name: str, details):
    """What a command that succeeds has to say."""
    if name == "deploy":
        return DEPLOYED
    if name == "run" and details["entry_point"] == "/bin/echo":
        return " ".join(details["args"]) + "\n"
    return "stand-in\n" if name == "run" else None


def command(entry) -> tuple:
    """A command's name and details; one without details is its name alone."""
    return (entry, None) if isinstance(entry, str) else next(iter(entry.items()))
