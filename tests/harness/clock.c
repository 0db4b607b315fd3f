// The wall clock, moved by the seconds that the file named by TEST_CLOCK holds (8 bytes). For LD_PRELOAD:
// libfaketime does not come up beside the allocator that Envoy is linked with.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *moved;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *moved, PROT_READ, MAP_SHARED, file, 0);
    moved = map == MAP_FAILED ? NULL : map;
}

int clock_gettime(clockid_t id, struct timespec *out) {
    long failed = syscall(SYS_clock_gettime, id, out);
    if (!failed && id == CLOCK_REALTIME && moved) {
        out->tv_sec += *moved;
    }
    return (int)failed;
}
