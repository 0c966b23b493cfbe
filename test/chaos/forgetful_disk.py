"""A disk that forgets what was not synced: a file system (FUSE) over a directory, for one server.

All goes through to the directory below at once, and what it took to undo it is kept in memory until a sync:

    data        until fsync of the file, or written with O_DSYNC
    names       (made, renamed, removed) until fsync of their directory

A power cut undoes all of that, or, at random, only some of it: a disk may also have written some, down to sectors, also
of what was under way. In three steps: cut(), after which nothing is answered; fail(), once the server has been told to
die and can't see its calls fail any more; and forget(), when it is gone. Syncs can also be made slow, or to fail.

It speaks the kernel's FUSE protocol itself (linux/fuse.h) and mounts without help: it needs /dev/fuse and the right to
mount. unavailable() says why not. `Disk` is the handle of a test; the process is this file.
"""

import ctypes
import errno
import json
import os
import pathlib
import random
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

SECTOR = 512
WRITE_MAX = 1 << 20
ROOT_ID = 1
MS_NOSUID_NODEV = 2 | 4
MNT_DETACH = 2
SIZE_IS_SET, MODE_IS_SET = 1 << 3, 1 << 0
DIRECT_IO = 1  # The kernel keeps nothing.
# FUSE_ASYNC_READ, FUSE_BIG_WRITES, FUSE_MAX_PAGES
INIT_FLAGS = 1 | 1 << 5 | 1 << 22
NO_REPLACE = 1
FSYNC, FSYNCDIR, WRITE = 20, 30, 16
# What changes something: setattr, mkdir, unlink, rmdir, rename, create, fallocate, rename2 and these three.
CHANGES = (4, 9, 10, 11, 12, 35, 43, 45, FSYNC, FSYNCDIR, WRITE)

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(point, device):
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    if _libc.mount(b"forgetful", os.fsencode(point), b"fuse", MS_NOSUID_NODEV, options.encode()):
        raise OSError(ctypes.get_errno(), "mount")


def unmount(point):
    _libc.umount2(os.fsencode(point), MNT_DETACH)


def unavailable():
    """Why this machine can't have such a disk; None when it can."""
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
    except OSError as failure:
        return f"/dev/fuse: {failure.strerror}"
    with tempfile.TemporaryDirectory() as point:
        try:
            _mount(point, device)
        except OSError as failure:
            return f"mount: {failure.strerror}"
        finally:
            os.close(device)
        unmount(point)
    return None


class Disk:
    """Mounted at `point`, an empty directory, as long as it isn't closed."""

    def __init__(self, point, below):
        self.point = pathlib.Path(point)
        for each in (self.point, pathlib.Path(below) / "root", pathlib.Path(below) / "removed"):
            each.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen([sys.executable, "-B", __file__, str(point), str(below)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self._answer()

    def cut(self, everything=True):
        return self._command(do="cut", everything=everything)

    def fail(self):
        return self._command(do="fail")

    def forget(self, everything=True):
        """How many writes and names were not synced, and how many of them are forgotten."""
        return self._command(do="forget", everything=everything)

    def sync(self):
        return self._command(do="sync")

    def harm(self, delay=0.0, fail=False):
        """From now on each sync takes so many seconds, or fails."""
        return self._command(do="harm", delay=delay, fail=fail)

    def close(self):
        unmount(self.point)
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _command(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        return self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the disk at {self.point} ended with {self.process.wait()}")
        return json.loads(line)


class Write:
    """Bytes of a file, as they were and as they are."""

    def __init__(self, offset, old, new, synced):
        self.offset, self.old, self.new, self.synced = offset, old, new, synced

    def undo(self, file):
        os.pwrite(file, self.old, self.offset)

    def redo(self, file):
        os.pwrite(file, self.new, self.offset)

    def tear(self, file):
        """Some sectors have been written."""
        for at in range(0, len(self.new), SECTOR):
            if random.random() < 0.5:
                os.pwrite(file, self.new[at:at + SECTOR], self.offset + at)


class Inode:
    """A file or directory that the kernel knows."""

    def __init__(self, handle, number):
        self.handle = handle  # O_PATH
        self.number = number
        self.lookups = 0
        self.size = None  # At the last sync, when something is not synced.
        self.writes = []

    def open(self, flags):
        return os.open(f"/proc/self/fd/{self.handle}", flags)

    def note(self, file, write_of=None, synced=False):
        """Before a change: what it takes to undo it."""
        if self.size is None and synced:
            return
        size = os.fstat(file).st_size
        if self.size is None:
            self.size = size
        if write_of is not None:
            offset, data = write_of
            self.writes.append(Write(offset, os.pread(file, len(data), offset), data, synced))

    def note_cut(self, file, size):
        """What is behind the new size is lost, and comes back when that was not synced."""
        length = os.fstat(file).st_size - size
        if length > 0:
            self.note(file, (size, b"\0" * length))
            self.writes[-1].redo = self.writes[-1].tear = lambda _: None
        else:
            self.note(file)

    def synced(self):
        self.size = None
        self.writes.clear()

    def forget(self, everything):
        """Which share of the writes is kept is drawn for each file; one of them is torn."""
        if self.size is None:
            return 0, 0
        unsynced = sum(not write.synced for write in self.writes)
        share = 0.0 if everything else random.choice((0.0, 0.5, 1.0))
        file = self.open(os.O_RDWR)
        for write in reversed(self.writes):
            write.undo(file)
        os.ftruncate(file, self.size)
        forgotten = 0
        for write in self.writes:
            if write.synced or random.random() < share:
                write.redo(file)
            else:
                forgotten += 1
                if share:
                    write.tear(file)
        os.close(file)
        self.synced()
        return unsynced, forgotten


class Name:
    """A change of names in one or two directories."""

    def __init__(self, directories, undo, settle=lambda: None):
        self.directories, self.undo, self.settle = directories, undo, settle


class FileSystem:
    def __init__(self, below):
        self.below = below
        self.removed = os.open(below / "removed", os.O_PATH)
        self.removals = 0
        root = os.open(below / "root", os.O_PATH)
        self.root = Inode(root, os.fstat(root).st_ino)
        self.inodes = {ROOT_ID: self.root}
        self.listings = {}
        self.names = []
        self.delay = 0.0
        self.syncs_fail = False

    def lookup(self, parent, name):
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=parent.handle)
        number = os.fstat(handle).st_ino << 1  # Never the root's, which is odd.
        found = self.inodes.get(number)
        if found is None:
            found = self.inodes[number] = Inode(handle, number)
        else:
            os.close(handle)
        found.lookups += 1
        return found

    def drop(self, number, count):
        inode = self.inodes.get(number)
        if inode is None or inode is self.root:
            return
        inode.lookups -= count
        # Kept while a power cut has to find it.
        if inode.lookups <= 0 and inode.size is None and not any(inode in name.directories for name in self.names):
            os.close(inode.handle)
            del self.inodes[number]

    # Power cuts.

    def forget(self, everything):
        writes = forgotten = 0
        for inode in list(self.inodes.values()):
            counts = inode.forget(everything)
            writes += counts[0]
            forgotten += counts[1]
        # A journal of names has a beginning that is kept.
        kept = 0 if everything else random.randrange(len(self.names) + 1)
        names = len(self.names)
        for name in reversed(self.names[kept:]):
            name.undo()
        for name in self.names[:kept]:
            name.settle()
        self.names.clear()
        self.forgotten_inodes()
        return {"writes": writes, "writes forgotten": forgotten, "names": names, "names forgotten": names - kept}

    def forgotten_inodes(self):
        for number in list(self.inodes):
            self.drop(number, 0)

    def sync(self):
        for inode in self.inodes.values():
            inode.synced()
        for name in self.names:
            name.settle()
        self.names.clear()
        self.forgotten_inodes()
        return {}

    def harm(self, delay, fail):
        self.delay, self.syncs_fail = delay, fail
        return {}

    def wait_for_sync(self):
        if self.delay:
            time.sleep(self.delay)
        if self.syncs_fail:
            raise OSError(errno.EIO, "sync")

    # Names.

    def hide(self, parent, name):
        """Takes something away; returns what puts it back, and what gives it up."""
        self.removals += 1
        hidden = str(self.removals)
        os.rename(name, hidden, src_dir_fd=parent.handle, dst_dir_fd=self.removed)

        def put_back():
            os.rename(hidden, name, src_dir_fd=self.removed, dst_dir_fd=parent.handle)

        def give_up():
            path = self.below / "removed" / hidden
            shutil.rmtree(path) if path.is_dir() else path.unlink()

        return put_back, give_up

    def made(self, parent, name):
        def undo():
            path = f"/proc/self/fd/{parent.handle}/{os.fsdecode(name)}"
            shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

        self.names.append(Name((parent,), undo))

    def remove(self, parent, name):
        put_back, give_up = self.hide(parent, name)
        self.names.append(Name((parent,), put_back, give_up))

    def rename(self, parent, name, to_parent, to_name, flags):
        os.stat(name, dir_fd=parent.handle, follow_symlinks=False)
        replaced = None
        try:
            os.stat(to_name, dir_fd=to_parent.handle, follow_symlinks=False)
            if flags & NO_REPLACE:
                raise FileExistsError(errno.EEXIST, "rename")
            replaced = self.hide(to_parent, to_name)
        except FileNotFoundError:
            pass
        os.rename(name, to_name, src_dir_fd=parent.handle, dst_dir_fd=to_parent.handle)

        def undo():
            os.rename(to_name, name, src_dir_fd=to_parent.handle, dst_dir_fd=parent.handle)
            if replaced:
                replaced[0]()

        self.names.append(Name((parent, to_parent), undo, replaced[1] if replaced else lambda: None))

    def sync_names(self, directory):
        self.settle(lambda each: each is directory)
        # What happened in a directory that is gone for good can't come back.
        self.settle(lambda each: os.fstat(each.handle).st_nlink == 0)

    def settle(self, concerned):
        kept = []
        for name in self.names:
            if any(concerned(directory) for directory in name.directories):
                name.settle()
            else:
                kept.append(name)
        self.names = kept


def attributes(inode_number, found):
    def split(nanoseconds):
        return divmod(nanoseconds, 10**9)

    (atime, atime_n), (mtime, mtime_n), (ctime, ctime_n) = map(
        split, (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns))
    return struct.pack("<6Q10I", inode_number, found.st_size, found.st_blocks, atime, mtime, ctime, atime_n, mtime_n,
                       ctime_n, found.st_mode, found.st_nlink, found.st_uid, found.st_gid, 0, found.st_blksize, 0)


def text(body, offset):
    """The name that begins there."""
    return bytes(body[offset:]).split(b"\0", 1)[0]


class Session:
    """Answers the kernel."""

    def __init__(self, device, files):
        self.device = device
        self.files = files
        self.buffer = bytearray(WRITE_MAX + (1 << 16))
        self.is_cut = False
        self.tears = False
        self.held = []  # Not answered since the power was cut; None when all get errors.
        self.calls = {1: self.lookup, 3: self.getattr, 4: self.setattr, 9: self.mkdir, 10: self.unlink, 11: self.rmdir,
                      12: self.rename, 14: self.open, 15: self.read, WRITE: self.write, 17: self.statfs,
                      18: self.release, FSYNC: self.fsync, 26: self.init, 27: self.opendir, 28: self.readdir,
                      29: self.releasedir, FSYNCDIR: self.fsyncdir, 35: self.create, 43: self.fallocate,
                      45: self.rename2, 46: self.lseek}

    def serve(self):
        """One request; whether there was one."""
        try:
            length = os.readv(self.device, [self.buffer])
        except OSError as failure:
            if failure.errno in (errno.EAGAIN, errno.EINTR, errno.ENOENT):
                return False
            raise
        _, opcode, unique, number = struct.unpack_from("<IIQQ", self.buffer)
        body = memoryview(self.buffer)[40:length]
        if opcode in (2, 42):
            self.forget(opcode, number, body)
            return True
        if opcode == 36:
            return True  # An interruption: nothing here takes long.
        if self.is_cut and opcode in CHANGES:
            self.lose(opcode, unique, body)
            return True
        try:
            call = self.calls.get(opcode)
            if call is None:
                raise OSError(errno.ENOSYS, "call")
            error, answer = 0, call(self.files.inodes.get(number), body) or b""
        except OSError as failure:
            error, answer = failure.errno, b""
        self.answer(unique, error, answer)
        return True

    def answer(self, unique, error, answer=b""):
        try:
            os.writev(self.device, [struct.pack("<IiQ", 16 + len(answer), -error, unique), answer])
        except FileNotFoundError:
            pass  # Who asked was killed.

    # Power cuts.

    def cut(self, everything):
        self.is_cut, self.tears, self.held = True, not everything, []
        return {}

    def lose(self, opcode, unique, body):
        """A call that the power cut comes before; of a write some sectors may have got there."""
        if opcode == WRITE and self.tears:
            file, offset, size = struct.unpack_from("<2QI", body)
            data = bytes(body[40:40 + size])
            Write(offset, b"", data, False).tear(file)
        if self.held is None:
            self.answer(unique, errno.EIO)
        else:
            self.held.append(unique)

    def fail(self):
        for unique in self.held:
            self.answer(unique, errno.EIO)
        count, self.held = len(self.held), None
        return {"under way": count}

    def power_on(self, everything):
        while self.serve():
            pass
        self.is_cut = False
        return self.files.forget(everything)

    # Calls.

    def forget(self, opcode, number, body):
        if opcode == 2:
            self.files.drop(number, struct.unpack_from("<Q", body)[0])
            return
        for each in range(struct.unpack_from("<I", body)[0]):
            self.files.drop(*struct.unpack_from("<QQ", body, 8 + 16 * each))

    def entry(self, parent, name):
        inode = self.files.lookup(parent, name)
        return struct.pack("<4Q2I", inode.number, 0, 0, 0, 0, 0) + attributes(inode.number, os.fstat(inode.handle))

    @staticmethod
    def init(_, body):
        major, minor, readahead, flags = struct.unpack_from("<4I", body)
        return struct.pack("<4I2H2I2H8I", major, min(minor, 36), readahead, flags & INIT_FLAGS, 16, 12, WRITE_MAX, 1,
                           WRITE_MAX >> 12, 0, *[0] * 8)

    def lookup(self, parent, body):
        return self.entry(parent, text(body, 0))

    def getattr(self, inode, _):
        return struct.pack("<Q2I", 0, 0, 0) + attributes(inode.number, os.fstat(inode.handle))

    def setattr(self, inode, body):
        valid = struct.unpack_from("<I", body)[0]
        if valid & SIZE_IS_SET:
            size = struct.unpack_from("<Q", body, 16)[0]
            file = inode.open(os.O_RDWR)
            inode.note_cut(file, size)
            os.ftruncate(file, size)
            os.close(file)
        if valid & MODE_IS_SET:
            os.chmod(f"/proc/self/fd/{inode.handle}", struct.unpack_from("<I", body, 68)[0] & 0o7777)
        return self.getattr(inode, body)

    def mkdir(self, parent, body):
        mode = struct.unpack_from("<I", body)[0]
        name = text(body, 8)
        os.mkdir(name, mode & 0o7777, dir_fd=parent.handle)
        self.files.made(parent, name)
        return self.entry(parent, name)

    def unlink(self, parent, body):
        self.files.remove(parent, text(body, 0))

    def rmdir(self, parent, body):
        name = text(body, 0)
        if os.listdir(f"/proc/self/fd/{parent.handle}/{os.fsdecode(name)}"):
            raise OSError(errno.ENOTEMPTY, "rmdir")
        self.files.remove(parent, name)

    def rename(self, parent, body, names_at=8, flags=0):
        to_parent = self.files.inodes[struct.unpack_from("<Q", body)[0]]
        name = text(body, names_at)
        self.files.rename(parent, name, to_parent, text(body, names_at + len(name) + 1), flags)

    def rename2(self, parent, body):
        flags = struct.unpack_from("<I", body, 8)[0]
        if flags & ~NO_REPLACE:
            raise OSError(errno.EINVAL, "rename")
        self.rename(parent, body, 16, flags)

    @staticmethod
    def opened(file):
        return struct.pack("<Q2I", file, DIRECT_IO, 0)

    def open(self, inode, body):
        flags = struct.unpack_from("<I", body)[0]
        return self.opened(inode.open(os.O_RDWR if flags & os.O_ACCMODE else os.O_RDONLY))

    def create(self, parent, body):
        flags, mode = struct.unpack_from("<2I", body)
        name = text(body, 16)
        # Exclusive or not: the kernel asks only for names that it has not found.
        os.close(os.open(name, os.O_RDWR | os.O_CREAT | (flags & os.O_EXCL), mode & 0o7777, dir_fd=parent.handle))
        self.files.made(parent, name)
        entry = self.entry(parent, name)
        inode = self.files.inodes[struct.unpack_from("<Q", entry)[0]]
        return entry + self.opened(inode.open(os.O_RDWR))

    @staticmethod
    def read(_, body):
        file, offset, size = struct.unpack_from("<2QI", body)
        return os.pread(file, size, offset)

    def write(self, inode, body):
        file, offset, size = struct.unpack_from("<2QI", body)
        flags = struct.unpack_from("<I", body, 32)[0]
        synced = bool(flags & os.O_DSYNC)
        if synced:
            self.files.wait_for_sync()
        data = bytes(body[40:40 + size])
        inode.note(file, (offset, data), synced)
        return struct.pack("<2I", os.pwrite(file, data, offset), 0)

    def fallocate(self, inode, body):
        file, offset, length = struct.unpack_from("<3Q", body)
        mode = struct.unpack_from("<I", body, 24)[0]
        if mode == 0:
            inode.note(file)
        # A hole gives up what nobody needs; that it is there at once is one of the things that may happen.
        if _libc.fallocate(file, mode, ctypes.c_long(offset), ctypes.c_long(length)):
            raise OSError(ctypes.get_errno(), "fallocate")

    def fsync(self, inode, _):
        self.files.wait_for_sync()
        inode.synced()

    def fsyncdir(self, inode, _):
        self.files.wait_for_sync()
        self.files.sync_names(inode)

    @staticmethod
    def release(_, body):
        os.close(struct.unpack_from("<Q", body)[0])

    @staticmethod
    def lseek(_, body):
        file, offset, whence = struct.unpack_from("<2QI", body)
        return struct.pack("<Q", os.lseek(file, offset, whence))

    def statfs(self, inode, _):
        found = os.statvfs(f"/proc/self/fd/{inode.handle}")
        return struct.pack("<5Q4I24x", found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree,
                           found.f_bsize, found.f_namemax, found.f_frsize, 0)

    def opendir(self, inode, _):
        with os.scandir(f"/proc/self/fd/{inode.handle}") as found:
            entries = [(os.fsencode(each.name), each.inode(), 4 if each.is_dir(follow_symlinks=False) else 8)
                       for each in found]
        listing = max(self.files.listings, default=0) + 1
        self.files.listings[listing] = [(b".", 1, 4), (b"..", 1, 4), *entries]
        return struct.pack("<Q2I", listing, 0, 0)

    def readdir(self, _, body):
        listing, offset, size = struct.unpack_from("<2QI", body)
        out = b""
        for at, (name, number, kind) in enumerate(self.files.listings[listing][offset:], offset + 1):
            entry = struct.pack("<2Q2I", number, at, len(name), kind) + name
            entry += b"\0" * (-len(entry) % 8)
            if len(out) + len(entry) > size:
                break
            out += entry
        return out

    def releasedir(self, _, body):
        self.files.listings.pop(struct.unpack_from("<Q", body)[0], None)


def obey(line, files, session):
    command = json.loads(line)
    what = {"cut": session.cut, "fail": session.fail, "forget": session.power_on, "sync": files.sync,
            "harm": files.harm}[command.pop("do")]
    print(json.dumps(what(**command)), flush=True)


def main():
    # What ends a test by a signal to all must let it clean up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    point, below = map(pathlib.Path, sys.argv[1:])
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    os.umask(0)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_NONBLOCK)
    _mount(point, device)
    files = FileSystem(below)
    session = Session(device, files)
    print("{}", flush=True)
    poll = select.poll()
    poll.register(device, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    rest = b""
    while True:
        for handle, _ in poll.poll():
            if handle == device:
                try:
                    session.serve()
                except OSError as failure:
                    if failure.errno == errno.ENODEV:
                        return  # Unmounted.
                    raise
                continue
            piece = os.read(handle, 1 << 16)
            if not piece:
                unmount(point)
                return
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                obey(line, files, session)


if __name__ == "__main__":
    main()
