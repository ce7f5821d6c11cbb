#!/usr/bin/env bash
# rsync takes the quotes of its remote shell apart by rules of its own, and not by those of a shell.
#
# Software: rsync 3.5.0 (Debian 12, rsync 3.5.0+ds1-0+deb12u1), and bash, which quotes.
#
# A program that starts rsync has the remote shell as words, such as ssh, its options, and paths, and
# joins them to the one argument of `-e`. One would guess that any quoting that a shell takes apart
# will do, for instance bash's own, `${word@Q}` and `printf %q`. It will not: a backslash is an
# ordinary character for rsync, inside quotes and outside, so that `\'` escapes no quote and `\ ` no
# blank. A quote within quotes is a doubled one. Python's `shlex.quote` is right by luck: it needs no
# backslash, since it puts a single quote between double ones.
#
# Output seen, with a program as the remote shell that prints its own arguments:
#
#     word     quoted by         -e                     rsync passes
#     it's     bash ${word@Q}    REMOTE 'it'\''s'       Missing trailing-' in remote-shell command.
#     it's     bash printf %q    REMOTE it\'s           Missing trailing-' in remote-shell command.
#     a b      bash printf %q    REMOTE a\ b            <a\> <b>
#     it's     Python shlex      REMOTE 'it'"'"'s'      <it's>
#     it's     a doubled quote   REMOTE 'it''s'         <it's>
#     a \" b   doubled quotes    REMOTE "a \"" b"       <a \" b>
set -euo pipefail

fail() { echo "rsync-rsh-quotes: $1" >&2; exit 1; }

version=$(rsync --version | sed -n '1s/^rsync  version \([^ ]*\) .*/\1/p')
[ "$version" = 3.5.0 ] || fail "the finding is about rsync 3.5.0, and this is ${version:-another program}."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
touch "$work/file"

# rsync appends the host and its own command; a dash ends what was quoted.
cat > "$work/remote" <<'REMOTE'
#!/usr/bin/env bash
for argument; do
    [ "$argument" = - ] && break
    printf '<%s> ' "$argument"
done >> "${0%/*}/passed"
exit 1
REMOTE
chmod +x "$work/remote"

# What rsync passes to the remote shell `REMOTE quoted`, or what it complains of.
passed() {
    rm -f "$work/passed"
    rsync -e "$work/remote $1 -" "$work/file" host:file 2> "$work/complaint" || true
    if [ -e "$work/passed" ]; then sed 's/ $//' "$work/passed"; else sed -n 1p "$work/complaint"; fi
}

expect() {
    local word=$1 by=$2 quoted=$3 right=$4 seen
    seen=$(passed "$quoted")
    printf '%-8s %-17s REMOTE %-15s %s\n' "$word" "$by" "$quoted" "$seen"
    [ "$seen" = "$right" ] || fail "rsync makes $seen of $quoted, where $right was seen before."
}

# The shell itself gets its word back from each of its own quotings.
for word in "it's" "a b"; do
    for quoted in "${word@Q}" "$(printf %q "$word")"; do
        [ "$(bash -c "printf %s $quoted")" = "$word" ] || fail "bash does not take $quoted apart."
    done
done

complaint="Missing trailing-' in remote-shell command."
word="it's"
expect "$word" "bash \${word@Q}" "${word@Q}" "$complaint"
expect "$word" "bash printf %q" "$(printf %q "$word")" "$complaint"
expect "a b" "bash printf %q" "$(printf %q "a b")" '<a\> <b>'
expect "$word" "Python shlex" "'it'\"'\"'s'" "<it's>"
expect "$word" "a doubled quote" "'it''s'" "<it's>"
expect 'a \" b' "doubled quotes" '"a \"" b"' '<a \" b>'
