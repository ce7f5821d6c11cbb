"""Runs commands on nodes by ssh.

From the user's machine a node is reached through the daemon's private network, by the proxy command that the webserver
names. Nodes reach each other directly. A daemon that was started anew has lost the private network: then a node's provider
can still be told to run a command, without input, terminal, or files.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from ray.autoscaler._private.cli_logger import cf, cli_logger
from ray.autoscaler._private.command_runner import (
    SSHCommandRunner,
    SSHOptions,
    _with_environment_variables,
    is_rsync_silent,
)

from .. import ssh_key
from ..plain_path import plain

# Networks between private homes pause now and then. After five silent minutes the link is taken for dead.
ALIVE_SECONDS = 30
ALIVE_TRIES = 10
RSYNC_CONNECT_SECONDS = 120

# Owner and group of the local files mean nothing on a node, and not every node may change them.
RSYNC_FLAGS = ["-avz", "--no-o", "--no-g", "-v", "--stats", "--progress"]

RESOURCES_VARIABLE = "RAY_OVERRIDE_RESOURCES"

# What Ray sets up before each command over ssh, too.
PREPARATION = "source ~/.bashrc; export OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore"
# What `--stop` of `ray exec` and `ray submit` has the head do once the command is done: Ray has no `teardown` any more,
# and a node is no machine that it could halt.
TEARDOWN = "ray teardown ~/ray_bootstrap_config.yaml --yes --workers-only"
HALT = "; sudo shutdown -h now"
# The end of the cluster ends its head, too; it waits for the shell that it is said to, so that its last words arrive.
END = (
    '{ setsid nohup bash -c "tail --pid=$$ -f /dev/null; ray down ~/ray_bootstrap_config.yaml --yes" '
    "</dev/null >/tmp/ray_down.log 2>&1 & }"
)

# What `ray attach` runs.
ATTACHED = ("$SHELL", "screen -", "tmux attach", "tmux new")


@dataclass(frozen=True)
class Way:
    """How a node is reached: through which command, and with which host keys if its own is known.

    A detour is there where ssh is lost: a command that has the node's provider run what stands behind it.
    """

    proxy_command: str
    known_hosts: Path | None
    detour: tuple[str, ...] = ()


class GolemCommandRunner(SSHCommandRunner):
    """Ray's ssh runner with Golem's way to a node.

    The way is asked for before each command and not before: a node has none until it is up.
    """

    def __init__(
        self,
        *,
        find_way: Callable[[], Way] | None,
        planned_only: Callable[[], list[str]],
        datadir: Path,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        self._find = find_way
        self._planned_only = planned_only
        self._detour: tuple[str, ...] = ()
        self.ssh_proxy_command = None
        # Ray's own is the same for clusters of one name, and where every user can foresee it.
        self.ssh_control_path = str(ssh_key.connections(datadir, self.cluster_name, self.node_id))
        self._set_options()

    def run(
        self,
        cmd: str | None = None,
        timeout: int = 120,
        exit_on_fail: bool = False,
        port_forward: Any = None,
        with_output: bool = False,
        environment_variables: dict[str, object] | None = None,
        run_env: str = "auto",
        ssh_options_override_ssh_key: str = "",
        **more: Any,
    ) -> str:
        """Runs a command; see Ray's `CommandRunnerInterface`."""
        self._find_way()
        if cmd and TEARDOWN in cmd:
            if self._detour:
                # Neither does the head reach the webserver, by which it would end the cluster.
                self._refuse("`--stop`")
            cmd = cmd.replace(TEARDOWN, END).replace(HALT, "")
            more.pop("shutdown_after_run", None)
        environment_variables = self._without_planned(environment_variables)
        if self._detour:
            is_seen = bool(port_forward) or not cmd or cmd.startswith(ATTACHED)
            if is_seen:
                self._refuse("A terminal or a forwarded port")
            return self._run_by_provider(cmd, environment_variables, with_output, exit_on_fail, more)
        # Ray names the key that is in use anyway, and would then use options without our keepalives.
        if ssh_options_override_ssh_key == self.ssh_private_key:
            ssh_options_override_ssh_key = ""
        return super().run(
            cmd,
            timeout=timeout,
            exit_on_fail=exit_on_fail,
            port_forward=port_forward,
            with_output=with_output,
            environment_variables=environment_variables,
            run_env=run_env,
            ssh_options_override_ssh_key=ssh_options_override_ssh_key,
            **more,
        )

    def run_rsync_up(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """Copies files to the node."""
        self._rsync(source, f"{self._login()}:{target}", options)

    def run_rsync_down(self, source: str, target: str, options: dict[str, Any] | None = None) -> None:
        """Copies files from the node."""
        self._rsync(f"{self._login()}:{source}", target, options)

    def remote_shell_command_str(self) -> str:
        """The command that opens a shell on the node, complete, so that it can be pasted into any terminal."""
        login = self._login()
        return shlex.join(["ssh", "-tt", *self.ssh_options.to_ssh_options_list(), login]) + "\n"

    def _rsync(self, source: str, target: str, options: dict[str, Any] | None) -> None:
        shell = ["ssh", *self.ssh_options.to_ssh_options_list(timeout=RSYNC_CONNECT_SECONDS)]
        command = ["rsync", "--rsh", _for_rsync(shell), *RSYNC_FLAGS]
        command += self._create_rsync_filter_args(options=options or {})
        command += ["--", source, target]
        cli_logger.verbose("Running `{}`", cf.bold(" ".join(command)))
        self._run_helper(command, silent=is_rsync_silent())

    def _run_by_provider(
        self,
        cmd: str,
        environment_variables: dict[str, object] | None,
        with_output: bool,
        exit_on_fail: bool,
        more: Mapping[str, Any],
    ) -> str:
        cli_logger.warning("ssh does not reach {} any more; its provider runs the command", self.node_id)
        line = _with_environment_variables(cmd, environment_variables) if environment_variables else cmd
        command = [*self._detour, f"{PREPARATION} && ({line})"]
        return self._run_helper(command, with_output, exit_on_fail, silent=more.get("silent", False))

    def _refuse(self, what: str) -> None:
        cli_logger.abort(
            "{} needs ssh, which does not reach {} any more: the daemon was started anew and has lost the private network. "
            "Commands still run there, by `ray exec`",
            what,
            self.node_id,
        )

    def _login(self) -> str:
        self._find_way()
        if self._detour:
            self._refuse("The copy of a file, or a shell,")
        self._set_ssh_ip_if_required()
        os.makedirs(self.ssh_control_path, mode=0o700, exist_ok=True)
        return f"{self.ssh_user}@{self.ssh_ip}"

    def _find_way(self) -> None:
        if self._find is not None:
            way = self._find()
            self.ssh_proxy_command = way.proxy_command
            self._detour = way.detour
            self._set_options(way.known_hosts)

    def _set_options(self, known_hosts: Path | None = None) -> None:
        pinned = {}
        if known_hosts:
            pinned = {"StrictHostKeyChecking": "yes", "UserKnownHostsFile": plain(str(known_hosts))}
        self.ssh_options = SSHOptions(
            self.ssh_private_key and plain(self.ssh_private_key),
            self.ssh_control_path,
            ProxyCommand=self.ssh_proxy_command,
            ServerAliveInterval=ALIVE_SECONDS,
            ServerAliveCountMax=ALIVE_TRIES,
            # A wrong key is an error, not a reason to ask for a password that nobody knows.
            PasswordAuthentication="no",
            **pinned,
        )

    def _without_planned(self, variables: dict[str, object] | None) -> dict[str, object] | None:
        """Lets the node find out by itself how much it has of what was filled in for planning."""
        resources = (variables or {}).get(RESOURCES_VARIABLE)
        if not isinstance(resources, Mapping):
            return variables
        planned_only = self._planned_only()
        said = {key: value for key, value in resources.items() if key not in planned_only}
        others = {key: value for key, value in (variables or {}).items() if key != RESOURCES_VARIABLE}
        return {**others, RESOURCES_VARIABLE: said} if said else others


def _for_rsync(words: Iterable[str]) -> str:
    """A command line that rsync takes apart into these words: it splits at blanks, but not between quotes, in which a
    quote stands for itself where it is doubled."""
    return " ".join('"{}"'.format(word.replace('"', '""')) for word in words)
