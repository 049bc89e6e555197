"""A local user whose root directory is a file system that stops answering.

Arguments: a node of /dev/fuse, a directory to work in, the name to be called by. Without any right
of its own it makes a user namespace, mounts a FUSE of its own beneath an overlay, whose lower layer
is asked with the mounter's rights whoever looks, and makes that its root. Then nobody answers for
the FUSE any more, and "done" is written.
"""

import ctypes
import os
import signal
import struct
import sys
import time

NOBODY = 65534
INIT, GETATTR, STATFS, FORGETS = 26, 3, 17, (2, 42)
ENOSYS = 38

libc = ctypes.CDLL(None, use_errno=True)
node, base, name = sys.argv[1:]


def checked(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(source, target, kind, options):
    checked(libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()))


def answer(fd):
    """Answers as little as mounting needs."""
    while True:
        try:
            request = os.read(fd, 1 << 18)
        except PermissionError:
            time.sleep(0.01)  # Not mounted yet.
            continue
        _, call, unique, inode = struct.unpack_from("<IIQQ", request)
        if call in FORGETS:
            continue
        error, body = -ENOSYS, b""
        if call == INIT:
            error = 0
            body = struct.pack("<IIIIHHIIHH8I", 7, 31, 4096, 0, 0, 0, 4096, 1, 0, 0, *[0] * 8)
        elif call == GETATTR:
            error = 0
            # Good for no time at all: whoever looks asks again.
            body = struct.pack("<QII", 0, 0, 0)
            body += struct.pack("<6Q10I", inode, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, 0, 0, 0, 4096, 0)
        elif call == STATFS:
            error, body = 0, struct.pack("<5Q10I", *[0] * 5, 4096, 255, 4096, *[0] * 7)
        os.write(fd, struct.pack("<IiQ", 16 + len(body), error, unique) + body)


for directory in ("fuse", "plain", "root"):
    os.mkdir(f"{base}/{directory}")
    os.chmod(f"{base}/{directory}", 0o777)
os.setgroups([])
os.setresgid(NOBODY, NOBODY, NOBODY)
os.setresuid(NOBODY, NOBODY, NOBODY)
checked(libc.prctl(4, 1, 0, 0, 0))  # PR_SET_DUMPABLE, or the maps are root's.
checked(libc.unshare(0x10000000 | 0x00020000))  # CLONE_NEWUSER | CLONE_NEWNS
for file, text in (("setgroups", "deny"), ("uid_map", f"0 {NOBODY} 1"), ("gid_map", f"0 {NOBODY} 1")):
    with open(f"/proc/self/{file}", "w") as maps:
        maps.write(text)
fuse = os.open(node, os.O_RDWR)
server = os.fork()
if server == 0:
    checked(libc.prctl(1, signal.SIGKILL, 0, 0, 0))  # PR_SET_PDEATHSIG
    answer(fuse)
mount("mute", f"{base}/fuse", "fuse", f"fd={fuse},rootmode=40000,user_id=0,group_id=0")
os.close(fuse)
mount("overlay", f"{base}/root", "overlay", f"lowerdir={base}/fuse:{base}/plain,userxattr")
os.chroot(f"{base}/root")
checked(libc.prctl(15, name.encode(), 0, 0, 0))  # PR_SET_NAME
os.kill(server, signal.SIGSTOP)
print("done", flush=True)
while True:
    time.sleep(600)
