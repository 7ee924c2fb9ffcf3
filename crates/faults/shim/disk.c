/* A bad disk in front of the C library: for files under one folder it counts the calls of a process, fails the Nth, and
 * records what was written. Loaded by LD_PRELOAD; sockets, pipes and files elsewhere are left alone.
 * Source: reliability.md, R6 and R8.
 *
 *   FLORIN_DISK_DIR      the folder (absolute)
 *   FLORIN_DISK_SHARED   a file of 5 u64 in memory: calls that FLORIN_DISK_KIND could fail, calls that failed, and the
 *                        calls that eio, enospc and short could have failed
 *   FLORIN_DISK_KIND     eio | enospc | short; nothing is failed without it
 *   FLORIN_DISK_AT       the call that fails, from 1
 *   FLORIN_DISK_STICKY   1: every call after it too
 *   FLORIN_DISK_LOG      where records go; nothing is recorded without it
 *
 * A failing write leaves half of its bytes where the call is an odd one. A full disk takes half of the Nth write and
 * says so, as Linux does, and refuses from the next one on; what makes nothing longer still works.
 *
 * A record: u32 magic, u32 kind, u64 offset, u64 length of data, u32 length of path, u32 length of second path, then
 * path, second path, data. Records stand in the order of the effects: the effect and its record are under one lock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATH_SPACE 4096
#define MAGIC 0x474f4c46u /* "FLOG" */

enum record { R_WRITE = 1, R_TRUNCATE, R_SYNC, R_CREATE, R_RENAME, R_UNLINK, R_MKDIR, R_RMDIR };
enum kind { NONE, EIO_KIND, ENOSPC_KIND, SHORT_KIND };
/* What a call does: decides which kinds of fault count it. */
enum call { C_READ, C_WRITE, C_GROW, C_SYNC, C_CHANGE };
enum verdict { GO, FAIL, HALF, HALF_FAIL };

static char folder[PATH_SPACE];
static size_t folder_len;
static volatile uint64_t *shared;
static enum kind kind;
static uint64_t at;
static int sticky;
static int log_fd = -1;
static uint64_t own[5];
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void begin(void) {
    const char *text = getenv("FLORIN_DISK_DIR");
    shared = own;
    if (!text || strlen(text) >= sizeof folder) return;
    strcpy(folder, text);
    const char *what = getenv("FLORIN_DISK_KIND");
    if (what && !strcmp(what, "eio")) kind = EIO_KIND;
    if (what && !strcmp(what, "enospc")) kind = ENOSPC_KIND;
    if (what && !strcmp(what, "short")) kind = SHORT_KIND;
    if ((text = getenv("FLORIN_DISK_AT"))) at = strtoull(text, NULL, 10);
    if ((text = getenv("FLORIN_DISK_STICKY"))) sticky = text[0] == '1';
    if ((text = getenv("FLORIN_DISK_SHARED"))) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, text, O_RDWR | O_CLOEXEC, 0);
        void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof own, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (fd >= 0) syscall(SYS_close, fd);
        if (map != MAP_FAILED) shared = map;
    }
    if ((text = getenv("FLORIN_DISK_LOG")))
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    folder_len = strlen(folder);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int below(const char *path) {
    pthread_once(&once, begin);
    return folder_len && !strncmp(path, folder, folder_len) && (path[folder_len] == '/' || !path[folder_len]);
}

/* The path behind a descriptor, if it is one of ours. */
static int behind(int fd, char *path) {
    pthread_once(&once, begin);
    if (!folder_len || fd < 0) return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long n = syscall(SYS_readlink, link, path, PATH_SPACE - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return below(path) && !strstr(path, " (deleted)");
}

/* An absolute path of a name beside a descriptor, if it is one of ours. */
static int named(int dir, const char *name, char *path) {
    pthread_once(&once, begin);
    if (!folder_len || !name) return 0;
    if (name[0] == '/') {
        if (strlen(name) >= PATH_SPACE) return 0;
        strcpy(path, name);
        return below(path);
    }
    if (dir == AT_FDCWD || !behind(dir, path)) return 0;
    size_t used = strlen(path);
    if (used + strlen(name) + 2 > PATH_SPACE) return 0;
    path[used] = '/';
    strcpy(path + used + 1, name);
    return 1;
}

static int counts(enum kind by, enum call call) {
    switch (by) {
    case EIO_KIND: return 1;
    case ENOSPC_KIND: return call == C_WRITE || call == C_GROW || call == C_SYNC;
    case SHORT_KIND: return call == C_WRITE;
    default: return 0;
    }
}

static enum verdict judge(enum call call) {
    for (enum kind by = EIO_KIND; by <= SHORT_KIND; by++)
        if (counts(by, call)) __atomic_add_fetch(&shared[1 + by], 1, __ATOMIC_SEQ_CST);
    if (!counts(kind, call)) return GO;
    uint64_t number = __atomic_add_fetch(&shared[0], 1, __ATOMIC_SEQ_CST);
    if (!at || number < at || (number > at && !sticky)) return GO;
    __atomic_add_fetch(&shared[1], 1, __ATOMIC_SEQ_CST);
    if (kind == SHORT_KIND) return HALF;
    if (call != C_WRITE) return FAIL;
    if (kind == ENOSPC_KIND) return number == at && sticky ? HALF : FAIL;
    return at % 2 ? HALF_FAIL : FAIL;
}

static int refused(void) {
    errno = kind == ENOSPC_KIND ? ENOSPC : EIO;
    return -1;
}

static void record(enum record what, const char *path, const char *second, uint64_t offset, const struct iovec *data,
                   int count, size_t len) {
    if (log_fd < 0) return;
    struct {
        uint32_t magic, what;
        uint64_t offset, len;
        uint32_t path, second;
    } head = {MAGIC, what, offset, len, (uint32_t)strlen(path), second ? (uint32_t)strlen(second) : 0};
    struct iovec parts[16] = {{&head, sizeof head}, {(void *)path, head.path}, {(void *)second, head.second}};
    int used = 3;
    for (int i = 0; i < count && len && used < 16; i++) {
        size_t take = data[i].iov_len < len ? data[i].iov_len : len;
        parts[used++] = (struct iovec){data[i].iov_base, take};
        len -= take;
    }
    syscall(SYS_writev, log_fd, parts, used);
}

static ssize_t put(int fd, const struct iovec *data, int count, int64_t offset, const char *path) {
    size_t whole = 0;
    for (int i = 0; i < count; i++) whole += data[i].iov_len;
    enum verdict verdict = judge(C_WRITE);
    if (verdict == FAIL) return refused();
    size_t len = verdict == GO || whole < 2 ? whole : whole / 2;
    if (verdict == HALF_FAIL && len == whole) return refused();
    struct iovec part[16];
    int used = 0;
    for (size_t left = len; used < count && used < 12 && (left || !used); used++) {
        size_t take = data[used].iov_len < left ? data[used].iov_len : left;
        part[used] = (struct iovec){data[used].iov_base, take};
        left -= take;
    }
    pthread_mutex_lock(&order);
    ssize_t done = offset < 0 ? syscall(SYS_writev, fd, part, used)
                              : syscall(SYS_pwritev, fd, part, used, (long)offset, 0L);
    int why = errno;
    if (done >= 0 && log_fd >= 0) {
        int64_t from = offset < 0 ? (int64_t)syscall(SYS_lseek, fd, 0L, SEEK_CUR) - done : offset;
        record(R_WRITE, path, NULL, (uint64_t)from, part, used, (size_t)done);
    }
    pthread_mutex_unlock(&order);
    errno = why;
    return verdict == HALF_FAIL && done >= 0 ? refused() : done;
}

ssize_t write(int fd, const void *data, size_t len) {
    char path[PATH_SPACE];
    if (!behind(fd, path)) return syscall(SYS_write, fd, data, len);
    struct iovec one = {(void *)data, len};
    return put(fd, &one, 1, -1, path);
}

ssize_t writev(int fd, const struct iovec *data, int count) {
    char path[PATH_SPACE];
    if (count <= 0 || !behind(fd, path)) return syscall(SYS_writev, fd, data, count);
    return put(fd, data, count < 12 ? count : 12, -1, path);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset) {
    char path[PATH_SPACE];
    if (!behind(fd, path)) return syscall(SYS_pwrite64, fd, data, len, offset);
    struct iovec one = {(void *)data, len};
    return put(fd, &one, 1, offset, path);
}
ssize_t pwrite(int fd, const void *data, size_t len, off_t offset) { return pwrite64(fd, data, len, offset); }

ssize_t read(int fd, void *data, size_t len) {
    char path[PATH_SPACE];
    if (behind(fd, path) && judge(C_READ) != GO) return refused();
    return syscall(SYS_read, fd, data, len);
}

ssize_t pread64(int fd, void *data, size_t len, off64_t offset) {
    char path[PATH_SPACE];
    if (behind(fd, path) && judge(C_READ) != GO) return refused();
    return syscall(SYS_pread64, fd, data, len, offset);
}
ssize_t pread(int fd, void *data, size_t len, off_t offset) { return pread64(fd, data, len, offset); }

static int sync_with(long call, int fd) {
    char path[PATH_SPACE];
    if (!behind(fd, path)) return (int)syscall(call, fd);
    if (judge(C_SYNC) != GO) return refused();
    pthread_mutex_lock(&order);
    int done = (int)syscall(call, fd), why = errno;
    if (!done) record(R_SYNC, path, NULL, 0, NULL, 0, 0);
    pthread_mutex_unlock(&order);
    errno = why;
    return done;
}
int fsync(int fd) { return sync_with(SYS_fsync, fd); }
int fdatasync(int fd) { return sync_with(SYS_fdatasync, fd); }

int ftruncate64(int fd, off64_t len) {
    char path[PATH_SPACE];
    if (!behind(fd, path)) return (int)syscall(SYS_ftruncate, fd, len);
    struct stat now;
    int grows = fstat(fd, &now) || len > now.st_size;
    if (judge(grows ? C_GROW : C_CHANGE) != GO) return refused();
    pthread_mutex_lock(&order);
    int done = (int)syscall(SYS_ftruncate, fd, len), why = errno;
    if (!done) record(R_TRUNCATE, path, NULL, (uint64_t)len, NULL, 0, 0);
    pthread_mutex_unlock(&order);
    errno = why;
    return done;
}
int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

static int open_one(int dir, const char *name, int flags, mode_t mode) {
    char path[PATH_SPACE];
    if (!named(dir, name, path)) return (int)syscall(SYS_openat, dir, name, flags, mode);
    int is_new = (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    enum call call = is_new ? C_GROW : (flags & O_TRUNC) ? C_CHANGE : C_READ;
    if (judge(call) != GO) return refused();
    pthread_mutex_lock(&order);
    int fd = (int)syscall(SYS_openat, dir, name, flags, mode), why = errno;
    if (fd >= 0 && is_new) record(R_CREATE, path, NULL, 0, NULL, 0, 0);
    if (fd >= 0 && !is_new && (flags & O_TRUNC)) record(R_TRUNCATE, path, NULL, 0, NULL, 0, 0);
    pthread_mutex_unlock(&order);
    errno = why;
    return fd;
}

#define MODE_OF(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = (mode_t)va_arg(rest, int); \
        va_end(rest); \
    }

int open(const char *name, int flags, ...) {
    MODE_OF(flags, mode)
    return open_one(AT_FDCWD, name, flags, mode);
}
int open64(const char *name, int flags, ...) {
    MODE_OF(flags, mode)
    return open_one(AT_FDCWD, name, flags, mode);
}
int openat(int dir, const char *name, int flags, ...) {
    MODE_OF(flags, mode)
    return open_one(dir, name, flags, mode);
}
int openat64(int dir, const char *name, int flags, ...) {
    MODE_OF(flags, mode)
    return open_one(dir, name, flags, mode);
}

/* A change of names that is one call of the C library. */
#define NAMES(call, what, one, two, real_call) \
    if (judge(call) != GO) return refused(); \
    pthread_mutex_lock(&order); \
    int done = (real_call), why = errno; \
    if (!done) record(what, one, two, 0, NULL, 0, 0); \
    pthread_mutex_unlock(&order); \
    errno = why; \
    return done;

int rename(const char *from, const char *to) {
    REAL(rename);
    char one[PATH_SPACE], two[PATH_SPACE];
    if (!named(AT_FDCWD, from, one) || !named(AT_FDCWD, to, two)) return real(from, to);
    NAMES(C_CHANGE, R_RENAME, one, two, real(from, to))
}
int unlink(const char *name) {
    REAL(unlink);
    char path[PATH_SPACE];
    if (!named(AT_FDCWD, name, path)) return real(name);
    NAMES(C_CHANGE, R_UNLINK, path, NULL, real(name))
}
int unlinkat(int dir, const char *name, int flags) {
    REAL(unlinkat);
    char path[PATH_SPACE];
    if (!named(dir, name, path)) return real(dir, name, flags);
    NAMES(C_CHANGE, flags & AT_REMOVEDIR ? R_RMDIR : R_UNLINK, path, NULL, real(dir, name, flags))
}
int mkdir(const char *name, mode_t mode) {
    REAL(mkdir);
    char path[PATH_SPACE];
    if (!named(AT_FDCWD, name, path)) return real(name, mode);
    NAMES(C_GROW, R_MKDIR, path, NULL, real(name, mode))
}
int rmdir(const char *name) {
    REAL(rmdir);
    char path[PATH_SPACE];
    if (!named(AT_FDCWD, name, path)) return real(name);
    NAMES(C_CHANGE, R_RMDIR, path, NULL, real(name))
}
