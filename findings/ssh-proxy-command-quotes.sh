#!/usr/bin/env bash
# ssh hands ProxyCommand to the shell as it is, but only if it is also right by ssh's own quoting.
#
# Software: OpenSSH 9.2p1 (Debian 12, openssh-client 1:9.2p1-2+deb12u6).
#
# The manual says that the command is executed by the user's shell, so one would guess that a line
# that is right for a shell is right for ProxyCommand. But ssh first takes the line apart by its own
# rules, and ends if it cannot. By these, `\'` is an escaped quote even between single quotes, where
# a shell takes a backslash as it is. So a word that ends in a backslash, in single quotes, as
# `shlex.quote` and bash's `${word@Q}` write it, is refused before any shell is asked. The words
# themselves are thrown away: what is accepted reaches the shell unchanged, with each of its blanks.
#
# Output seen, with a program that keeps its arguments and then ends, so that no server answers:
#
#     ProxyCommand     the shell alone   ssh
#     ./keep 'a\'      <a\>              command-line line 0: invalid quotes
#     ./keep "a\\"     <a\>              <a\>
#     ./keep 'a  b'    <a  b>            <a  b>
set -euo pipefail

fail() { echo "ssh-proxy-command-quotes: $1" >&2; exit 1; }

version=$(ssh -V 2>&1 | sed 's/^OpenSSH_\([^ ,]*\).*/\1/')
[ "$version" = 9.2p1 ] || fail "the finding is about OpenSSH 9.2p1, and this is $version."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# It keeps them in a file: its standard output is what ssh takes for the server.
cat > "$work/keep" <<'KEEP'
#!/bin/sh
printf '<%s>' "$@" > kept
KEEP
chmod +x "$work/keep"

# What the program is passed when the user's shell runs the command.
by_shell() { (cd "$work" && /bin/sh -c "$1" && cat kept); }

# What it is passed when ssh has the shell run the command, or else the complaint of ssh.
by_ssh() {
    rm -f "$work/kept"
    (cd "$work" && SHELL=/bin/sh ssh -F none -o BatchMode=yes -o "ProxyCommand=$1" host.invalid true) \
        2> "$work/complaint" < /dev/null || true
    if [ -e "$work/kept" ]; then cat "$work/kept"; else tr -d '\r' < "$work/complaint" | sed -n 1p; fi
}

expect() {
    local command=$1 shell=$2 ssh=$3 seen
    seen=$(by_shell "$command")
    [ "$seen" = "$shell" ] || fail "the shell alone makes $seen of $command, where $shell is right."
    seen=$(by_ssh "$command")
    printf '%-16s %-17s %s\n' "$command" "$shell" "$seen"
    [ "$seen" = "$ssh" ] || fail "ssh makes '$seen' of $command, where '$ssh' was seen before."
}

expect "./keep 'a\\'" '<a\>' 'command-line line 0: invalid quotes'
expect './keep "a\\"' '<a\>' '<a\>'
expect "./keep 'a  b'" '<a  b>' '<a  b>'
