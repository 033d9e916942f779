/* The supervisor's lines, the log and the clock of a member process in C. */
#define _GNU_SOURCE
#include "member.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct header *headers;
static size_t headers_room;
static uint64_t *batches; /* time and count, time and count */
static size_t batches_used, batches_room;
static atomic_uint_fast64_t received;

static int log_folder = -1;
static const char *log_name;

static struct run run;
static const struct member *self;

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    uint64_t mine = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    return mine + (self->companion_cpu_ns ? self->companion_cpu_ns() : 0);
}

void sleep_until(uint64_t time_ns)
{
    struct timespec t = {(time_t)(time_ns / 1000000000u), (long)(time_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        continue;
}

void say(const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    line[length++] = '\n';
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        _exit(3);
}

void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(2);
}

static void *grown(void *memory, size_t used, size_t *room, size_t size)
{
    while (used > *room)
        *room = *room ? *room * 2 : 1 << 16;
    memory = realloc(memory, *room * size);
    if (!memory)
        fail("memory for the log");
    return memory;
}

void log_headers(uint64_t time_ns, const struct header *some, size_t count)
{
    size_t used = (size_t)atomic_load_explicit(&received, memory_order_relaxed);
    if (used + count > headers_room)
        headers = grown(headers, used + count, &headers_room, sizeof *headers);
    if (batches_used + 2 > batches_room)
        batches = grown(batches, batches_used + 2, &batches_room, sizeof *batches);
    memcpy(headers + used, some, count * sizeof *some);
    batches[batches_used++] = time_ns;
    batches[batches_used++] = count;
    atomic_store_explicit(&received, used + count, memory_order_release);
}

uint64_t log_count(void)
{
    return atomic_load_explicit(&received, memory_order_acquire);
}

void log_to(const char *stem)
{
    char folder[512];
    const char *slash = strrchr(stem, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - stem) : 1, slash ? stem : ".");
    log_name = slash ? slash + 1 : stem;
    log_folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (log_folder < 0)
        fail(folder);
}

static void write_file(const char *end, const void *data, size_t size)
{
    char name[512];
    snprintf(name, sizeof name, "%s.%s", log_name, end);
    int descriptor = openat(log_folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
    if (!file || fwrite(data ? data : "", 1, size, file) != size || fclose(file))
        fail(name);
}

static uint64_t number(const char *line, const char *name)
{
    char wanted[40];
    snprintf(wanted, sizeof wanted, " %s=", name);
    const char *found = strstr(line, wanted);
    if (!found) {
        errno = 0;
        fail(name);
    }
    return strtoull(found + strlen(wanted), NULL, 10);
}

static void prepare(const char *line)
{
    memset(&run, 0, sizeof run);
    run.kind = (int)number(line, "kind");
    run.round = (int)number(line, "round");
    run.size = (size_t)number(line, "size");
    run.sending = (int)number(line, "sending");
    run.offset_ns = number(line, "first_ns");
    run.interval_ns = number(line, "interval_ns");
    run.total = number(line, "total");
    run.first_word = (uint64_t)(run.round & 0xff) << 56 | (uint64_t)self->node << 48;
    batches_used = 0;
    atomic_store(&received, 0);
    if (self->prepared)
        self->prepared(&run);
    say("{\"said\": \"prepared\"}");
}

static void *sending(void *nothing)
{
    (void)nothing;
    sleep_until(run.start_ns);
    uint64_t sent = run.sending ? self->send(&run) : 0;
    sleep_until(run.end_ns);
    say("{\"said\": \"sent\", \"sent\": %" PRIu64 "}", sent);
    return NULL;
}

static uint64_t wall_ns, used_ns;

static void *measuring(void *nothing)
{
    (void)nothing;
    sleep_until(run.measure_ns);
    uint64_t wall = now_ns(), used = cpu_ns();
    sleep_until(run.end_ns);
    wall_ns = now_ns() - wall;
    used_ns = cpu_ns() - used;
    return NULL;
}

static void start(const char *line, pthread_t threads[2])
{
    run.start_ns = number(line, "start_ns");
    run.measure_ns = number(line, "measure_ns");
    run.end_ns = number(line, "end_ns");
    if (pthread_create(&threads[0], NULL, measuring, NULL) || pthread_create(&threads[1], NULL, sending, NULL))
        fail("threads");
}

static void drain(const char *line, pthread_t threads[2])
{
    uint64_t total = number(line, "total"), until_ns = number(line, "until_ns");
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    while (log_count() < total && now_ns() < until_ns)
        usleep(500);
    write_file("headers", headers, (size_t)log_count() * sizeof *headers);
    write_file("batches", batches, batches_used * sizeof *batches);
    say("{\"said\": \"done\", \"wall_ns\": %" PRIu64 ", \"cpu_ns\": %" PRIu64 "}", wall_ns, used_ns);
}

void obey(const struct member *member)
{
    char line[512];
    pthread_t threads[2];
    self = member;
    while (fgets(line, sizeof line, stdin)) {
        if (!strncmp(line, "prepare ", 8))
            prepare(line);
        else if (!strncmp(line, "start ", 6))
            start(line, threads);
        else if (!strncmp(line, "drain ", 6))
            drain(line, threads);
        else if (!strncmp(line, "leave", 5))
            break;
    }
}
