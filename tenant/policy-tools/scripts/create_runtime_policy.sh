#!/bin/sh
# Makes a runtime policy of a whole machine: boot aggregate, root file system, RAM disks, exclude list.
#
# Takes the options of Keylime's script of this name and leaves the policy where that one does. The work is done by
# keylime-policy and keylime_convert_runtime_policy; `keylime-policy create runtime` does the same with fewer detours.

set -eu

WORK=${KEYLIME_POLICY_WORK:-/tmp/kcrp}
ALGORITHM=sha1sum
OUTPUT=
RAM_DISKS=/boot/
BOOT_AGGREGATE=/sys/kernel/security/ima/ascii_runtime_measurements
ROOT=/
EXCLUDES=none
SKIPPED=none

usage() {
    cat <<TEXT
usage: $(basename "$0") -o FILE [options]

  -o, --output_file NAME                 name of the policy, written to $WORK/output
  -a, --algo ALGORITHM                   sha1sum (default), sha256sum or sha512sum
  -x, --ramdisk-location DIRECTORY       where the initial RAM disks are (default /boot/), or none
  -y, --boot_aggregate-location FILE     measurement list that starts with the boot aggregate, or none
  -z, --rootfs-location DIRECTORY        root of the file system (default /), or none
  -e, --exclude_list FILE                patterns of paths that are not judged, or none (default)
  -s, --skip-path DIRECTORIES            directories that are not digested, separated by commas, or none (default)
  -h, --help                             this text

example:
  $(basename "$0") -o runtime_policy.json -a sha256sum -e excludes.txt
TEXT
}

fail() {
    echo "ERROR: $1" >&2
    exit 1
}

if [ "$(id -u)" -ne 0 ]; then
    fail "please run this program as root"
fi

while [ $# -gt 0 ]; do
    option=${1%%=*}
    case $option in
        -h | --help)
            usage
            exit 0
            ;;
        -a | --algo | -o | --output_file | -x | --ramdisk-location | -y | --boot_aggregate-location | \
            -z | --rootfs-location | -e | --exclude_list | -s | --skip-path)
            if [ "$option" != "$1" ]; then
                value=${1#*=}
            else
                [ $# -gt 1 ] || fail "$option needs a value"
                shift
                value=$1
            fi
            ;;
        *)
            shift
            continue
            ;;
    esac
    case $option in
        -a | --algo) ALGORITHM=$value ;;
        -o | --output_file) OUTPUT=$value ;;
        -x | --ramdisk-location) RAM_DISKS=$value ;;
        -y | --boot_aggregate-location) BOOT_AGGREGATE=$value ;;
        -z | --rootfs-location) ROOT=$value ;;
        -e | --exclude_list) EXCLUDES=$value ;;
        -s | --skip-path) SKIPPED=$value ;;
    esac
    shift
done

if [ -z "$OUTPUT" ]; then
    usage
    exit 1
fi

case $ALGORITHM in
    sha1sum) LENGTH=40 ;;
    sha256sum) LENGTH=64 ;;
    sha512sum) LENGTH=128 ;;
    *) fail "the algorithm $ALGORITHM is none of sha1sum, sha256sum and sha512sum" ;;
esac

# The directory has a known name in a place where everybody may write: only one of root's own is used.
umask 077
if ! mkdir "$WORK" 2>/dev/null; then
    if [ -L "$WORK" ] || [ "$(stat -c %u "$WORK")" -ne 0 ]; then
        fail "$WORK is not a directory of root's"
    fi
    chmod 700 "$WORK"
fi
rm -rf "$WORK/output" "$WORK/allowlist.txt" "$WORK/files.txt"
mkdir "$WORK/output"
ALLOWLIST=$WORK/allowlist.txt
: >"$ALLOWLIST"

if [ "$BOOT_AGGREGATE" != none ]; then
    DIGEST=$(head -n 1 "$BOOT_AGGREGATE" | cut -d ' ' -f 4 | sed 's/.*://')
    [ ${#DIGEST} -eq $LENGTH ] || fail "the boot aggregate in $BOOT_AGGREGATE is not one of $ALGORITHM"
    echo "$DIGEST  boot_aggregate" >>"$ALLOWLIST"
fi

if [ -d /ostree ] && [ "$RAM_DISKS" = /boot/ ]; then
    for directory in /boot/ostree/*/; do
        [ -d "$directory" ] && RAM_DISKS=$directory
    done
fi

set --
[ "$ROOT" = none ] || set -- "$@" --rootfs "$ROOT"
[ "$RAM_DISKS" = none ] || set -- "$@" --ramdisk-dir "$RAM_DISKS"
[ "$SKIPPED" = none ] || set -- "$@" --skip-path "$SKIPPED"
if [ $# -gt 0 ]; then
    keylime-policy create runtime --algo "${ALGORITHM%sum}" --show-legacy-allowlist -o "$WORK/files.txt" "$@"
    cat "$WORK/files.txt" >>"$ALLOWLIST"
fi

set -- -a "$ALLOWLIST" -o "$WORK/output/$(basename "$OUTPUT")"
[ "$EXCLUDES" = none ] || set -- "$@" -e "$EXCLUDES"
keylime_convert_runtime_policy "$@"
echo "$WORK/output/$(basename "$OUTPUT")"
