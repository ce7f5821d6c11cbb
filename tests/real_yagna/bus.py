"""The daemon's bus, as much as a service on it needs: register a name, answer calls, report."""

import secrets
import socket
import sys
import threading
import time
import zlib

from packets import (
    CALL,
    FAILURE,
    HELLO,
    PING,
    PONG,
    REGISTER,
    REGISTERED,
    REPLY,
    UNREGISTER,
    fields,
    packed,
    packet,
    unpacked,
)

PAUSE_SECONDS = 0.2
# A daemon that is away hears nothing.
REPORT_SECONDS = 2.0


class Bus:
    """A connection to the bus that is made anew whenever the daemon comes back. Calls are answered
    side by side, each in a thread of its own."""

    def __init__(self, path: str):
        self.path = path
        self.services = {}
        self.reports = {}  # What is told whenever one was heard, by the number of the call.
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_UNIX)
        threading.Thread(target=self._run, daemon=True).start()

    def register(self, name: str, service):
        """Has calls to `name/Message` answered by `service(Message, content)`."""
        with self.lock:
            self.services[name] = service
            self._send(REGISTER, {1: name})

    def unregister(self, name: str):
        """Answers calls to that name no more."""
        with self.lock:
            if self.services.pop(name, None):
                self._send(UNREGISTER, {1: name})

    def report(self, name: str, content: dict):
        """Tells the service `name` something, and waits until it has heard; it says nothing."""
        call, heard = secrets.token_hex(8), threading.Event()
        self.reports[call] = heard
        with self.lock:
            self._send(CALL, {1: "stand-in", 2: name, 3: call, 4: packed(content)})
        heard.wait(REPORT_SECONDS)
        del self.reports[call]

    def _run(self):
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(self.path)
                    self._greet(connection)
                    self._listen(connection)
            except OSError:
                pass
            time.sleep(PAUSE_SECONDS)

    def _greet(self, connection: socket.socket):
        with self.lock:
            self.socket = connection
            self._send(HELLO, {1: "stand-in", 2: "0.0.0", 3: secrets.token_bytes(16)})
            for name in self.services:
                self._send(REGISTER, {1: name})

    def _listen(self, connection: socket.socket):
        """Takes packets until the daemon ends."""
        stream = connection.makefile("rb")
        while header := stream.read(4):
            for kind, content in fields(stream.read(int.from_bytes(header, "big"))).items():
                if kind == CALL:
                    call = threading.Thread(target=self._answer, args=[fields(content)])
                    call.daemon = True
                    call.start()
                elif kind == REPLY:
                    heard = self.reports.get(fields(content)[1].decode())
                    if heard:
                        heard.set()
                elif kind == PING:
                    with self.lock:
                        self._send(PONG, {})
                elif kind == REGISTERED and content:
                    # Success is code 0, and protobuf leaves zeros out.
                    print("the bus does not register us:", content, file=sys.stderr)

    def _answer(self, call: dict):
        name, _, message = call[2].decode().rpartition("/")
        reply = {1: call[3]}
        try:
            answer = self.services[name](message, unpacked(call[4]))
            reply[4] = packed(answer)
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            reply.update({2: FAILURE, 4: f"{message}: {error!r}"})
        with self.lock:
            self._send(REPLY, reply)

    def _send(self, kind: int, content: dict):
        """Sends a packet; if the daemon is away it is lost, as is all that the daemon asked."""
        try:
            self.socket.sendall(packet(kind, content))
        except OSError:
            pass
