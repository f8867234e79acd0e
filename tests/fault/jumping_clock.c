/* A wall clock that is wrong by as much as the file in JUMPING_CLOCK says, eight bytes: microseconds.

Loaded before the C library (LD_PRELOAD), for the processes of a stack under test. Clocks that only count, which is what
waits are measured with, stay as they are. Not libfaketime (0.9.10): under it Python 3.11's time.sleep fails with EINVAL. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *off;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("JUMPING_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *page = mmap(NULL, sizeof *off, PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) off = page;
    close(file);
}

static int64_t now_us(void) {
    static int (*real)(clockid_t, struct timespec *);
    struct timespec t;
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    real(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000 + (off ? *off : 0);
}

int clock_gettime(clockid_t which, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(which, t);
    if (!code && off && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) {
        int64_t ns = t->tv_nsec + (*off % 1000000) * 1000;
        t->tv_sec += *off / 1000000 + (ns < 0 ? -1 : ns / 1000000000);
        t->tv_nsec = ns < 0 ? ns + 1000000000 : ns % 1000000000;
    }
    return code;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    (void)zone;
    int64_t us = now_us();
    t->tv_sec = us / 1000000;
    t->tv_usec = us % 1000000;
    return 0;
}

time_t time(time_t *t) {
    time_t seconds = now_us() / 1000000;
    if (t) *t = seconds;
    return seconds;
}
