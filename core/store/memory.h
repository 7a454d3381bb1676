/* Memory that random reads spread over: large pages where the kernel has them, so that a probe needs no page walk. */
#ifndef JUKINET_MEMORY_H
#define JUKINET_MEMORY_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define JUKINET_LARGE_PAGE_BYTES ((size_t)2 << 20)

/* Zeroed memory, to be freed with free(); NULL when there is none. */
static void *jukinet_large_calloc(size_t bytes) {
    void *memory = NULL;
    if (bytes < JUKINET_LARGE_PAGE_BYTES) return calloc(bytes ? bytes : 1, 1);
    bytes = (bytes + JUKINET_LARGE_PAGE_BYTES - 1) & ~(JUKINET_LARGE_PAGE_BYTES - 1);
    if (posix_memalign(&memory, JUKINET_LARGE_PAGE_BYTES, bytes) != 0) return NULL;
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE); /* advice: refused on kernels without it, and nothing depends on it */
#endif
    memset(memory, 0, bytes);
    return memory;
}

/* 1 when the kernel took the advice for a mapping. */
static int jukinet_advise_large(unsigned long long start, unsigned long long bytes) {
#ifdef MADV_HUGEPAGE
    return madvise((void *)(size_t)start, (size_t)bytes, MADV_HUGEPAGE) == 0;
#else
    return 0;
#endif
}

/* Keep addresses in memory: 0, or the errno of the refusal. */
static int jukinet_lock(unsigned long long start, unsigned long long bytes) {
    return mlock((void *)(size_t)start, (size_t)bytes) == 0 ? 0 : errno;
}

#endif
