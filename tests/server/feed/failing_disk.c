/* Preloaded into a server: writes and syncs of a register's data.mdb fail with EIO while a switch file says so.
 *
 * FAILING_DISK names the switch file. While it exists, its text is KIND COUNT: "write" (pages), "sync" (fdatasync) or
 * "head" (the page that makes a transaction the newest), and how many calls of that kind still succeed first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEAD_BYTES 8192

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static long passed = -1;

static int is_register(int descriptor) {
    char link[64], path[4096];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    length = readlink(link, path, sizeof path - 1);
    if (length < 9) return 0;
    path[length] = 0;
    return strcmp(path + length - 9, "/data.mdb") == 0;
}

static int fails(const char *kind, int descriptor) {
    const char *name = getenv("FAILING_DISK");
    char wanted[16] = "";
    long spared = 0;
    int found = 0, saved = errno;
    FILE *file;
    if (name == NULL || !is_register(descriptor)) {
        errno = saved;
        return 0;
    }
    pthread_mutex_lock(&guard);
    file = fopen(name, "r");
    if (file == NULL) {
        passed = 0;
    } else {
        found = fscanf(file, "%15s %ld", wanted, &spared) == 2 && strcmp(wanted, kind) == 0 && passed++ >= spared;
        fclose(file);
    }
    pthread_mutex_unlock(&guard);
    errno = found ? EIO : saved;
    return found;
}

#define KIND(offset) ((offset) < HEAD_BYTES ? "head" : "write")

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);

ssize_t pwrite(int descriptor, const void *data, size_t count, off_t offset) {
    REAL(pwrite)
    return fails(KIND(offset), descriptor) ? -1 : real(descriptor, data, count, offset);
}

ssize_t pwrite64(int descriptor, const void *data, size_t count, off64_t offset) {
    REAL(pwrite64)
    return fails(KIND(offset), descriptor) ? -1 : real(descriptor, data, count, offset);
}

ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t offset) {
    REAL(pwritev)
    return fails(KIND(offset), descriptor) ? -1 : real(descriptor, parts, count, offset);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    REAL(writev)
    return fails("write", descriptor) ? -1 : real(descriptor, parts, count);
}

ssize_t write(int descriptor, const void *data, size_t count) {
    REAL(write)
    return fails("write", descriptor) ? -1 : real(descriptor, data, count);
}

int fdatasync(int descriptor) {
    REAL(fdatasync)
    return fails("sync", descriptor) ? -1 : real(descriptor);
}

int fsync(int descriptor) {
    REAL(fsync)
    return fails("sync", descriptor) ? -1 : real(descriptor);
}
