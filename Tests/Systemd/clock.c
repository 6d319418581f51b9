// A real-time clock that is off by as many seconds as a shared file says, for one process (ld.so(8),
// LD_PRELOAD). A test steps the services' clock with it, and leaves the machine's alone. CLOCK_STEP names
// another file.

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile long *step;

__attribute__((constructor)) static void open_step(void) {
    const char *name = getenv("CLOCK_STEP");
    int file = open(name ? name : "/run/clock-step", O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    void *map = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) step = map;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME && step) now->tv_sec += *step;
    return result;
}
