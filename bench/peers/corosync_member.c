/* A member process that is a client of corosync's closed process groups.

   corosync_member NODE LOG DAEMON

   It enters the network and the mount namespace of its daemon. One thread dispatches, another sends; with one message in
   flight the callback that delivers a message sends the next, which is the fastest way. */
#define _GNU_SOURCE
#include "member.h"
#include <corosync/cpg.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static cpg_handle_t handle;
static int daemon_pid;
static clockid_t daemon_clock;
static char *buffer;
static size_t buffer_size;
static const struct run *active;
static atomic_int pinging;
static uint64_t pings; /* one in flight: whoever got the last one back sends the next */

static cs_error_t multicast(uint64_t word, uint64_t due_ns, size_t size)
{
    struct header header = {word, due_ns};
    struct iovec vector = {buffer, size};
    memcpy(buffer, &header, sizeof header);
    return cpg_mcast_joined(handle, CPG_TYPE_AGREED, &vector, 1);
}

/* Until it is taken, or it is too late. Whether it was taken. */
static int insist(uint64_t word, uint64_t due_ns, size_t size, uint64_t until_ns)
{
    cs_error_t result;
    while ((result = multicast(word, due_ns, size)) == CS_ERR_TRY_AGAIN && now_ns() < until_ns)
        sched_yield();
    if (result != CS_OK && result != CS_ERR_TRY_AGAIN) {
        errno = 0;
        fail("cpg_mcast_joined");
    }
    return result == CS_OK;
}

static void ping(void)
{
    if (now_ns() < active->end_ns)
        pings += (uint64_t)insist(active->first_word + pings, now_ns(), active->size, active->end_ns);
}

static void deliver(cpg_handle_t h, const struct cpg_name *group, uint32_t from, uint32_t pid, void *data, size_t size)
{
    (void)h, (void)group, (void)from, (void)pid;
    if (size < HEADER_SIZE)
        return;
    log_headers(now_ns(), data, 1);
    if (atomic_load_explicit(&pinging, memory_order_acquire))
        ping();
}

static void changed(cpg_handle_t h, const struct cpg_name *group, const struct cpg_address *members, size_t count,
                    const struct cpg_address *left, size_t left_count, const struct cpg_address *joined,
                    size_t joined_count)
{
    (void)h, (void)group, (void)members, (void)left, (void)left_count, (void)joined, (void)joined_count;
    say("{\"said\": \"complete\", \"members\": %zu, \"time_ns\": %" PRIu64 "}", count, now_ns());
}

static void *dispatching(void *nothing)
{
    cs_error_t result;
    do
        result = cpg_dispatch(handle, CS_DISPATCH_BLOCKING);
    while (result == CS_ERR_TRY_AGAIN);
    return nothing;
}

static void prepared(const struct run *run)
{
    if (run->size > buffer_size) {
        buffer = realloc(buffer, run->size);
        if (!buffer)
            fail("memory for a message");
        buffer_size = run->size;
    }
    memset(buffer, 0, run->size);
}

static uint64_t send_messages(const struct run *run)
{
    uint64_t sent = 0;
    if (run->kind == SATURATE)
        while (now_ns() < run->end_ns)
            sent += (uint64_t)insist(run->first_word + sent, 0, run->size, run->end_ns);
    if (run->kind == PACED)
        while (sent < run->total) {
            uint64_t due_ns = run->start_ns + run->offset_ns + sent * run->interval_ns;
            if (due_ns > now_ns())
                sleep_until(due_ns);
            if (!insist(run->first_word + sent, due_ns, run->size, run->end_ns + 5000000000u))
                break;
            sent++;
        }
    if (run->kind == PING) {
        active = run;
        pings = 1; /* before the first can come back */
        atomic_store_explicit(&pinging, 1, memory_order_release);
        insist(run->first_word, now_ns(), run->size, run->end_ns);
        sleep_until(run->end_ns);
        usleep(50000); /* the last one in flight lands; it sends no more */
        atomic_store(&pinging, 0);
        sent = pings;
    }
    return sent;
}

/* Processor time of all threads of the daemon. */
static uint64_t daemon_cpu_ns(void)
{
    struct timespec used;
    if (clock_gettime(daemon_clock, &used))
        return 0;
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static void enter(const char *kind, int flag)
{
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/ns/%s", daemon_pid, kind);
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0 || setns(file, flag))
        fail(name);
    close(file);
}

static void join(void)
{
    cpg_model_v1_data_t callbacks = {.model = CPG_MODEL_V1, .cpg_deliver_fn = deliver, .cpg_confchg_fn = changed};
    struct cpg_name group = {.length = 5, .value = "bench"};
    cs_error_t result;
    int tries = 0;
    while ((result = cpg_model_initialize(&handle, CPG_MODEL_V1, (cpg_model_data_t *)&callbacks, NULL)) != CS_OK &&
           tries++ < 5000)
        usleep(2000);
    while (result == CS_OK && (result = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN && tries++ < 10000) {
        usleep(2000);
        result = CS_OK;
    }
    if (result != CS_OK) {
        fprintf(stderr, "corosync took no client: error %d\n", result);
        exit(2);
    }
}

int main(int count, char **arguments)
{
    pthread_t dispatcher;
    if (count != 4) {
        fprintf(stderr, "usage: corosync_member NODE LOG DAEMON\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    daemon_pid = atoi(arguments[3]);
    if (clock_getcpuclockid(daemon_pid, &daemon_clock))
        fail("the clock of the daemon");
    log_to(arguments[2]);
    enter("net", CLONE_NEWNET);
    enter("mnt", CLONE_NEWNS);
    join();
    if (pthread_create(&dispatcher, NULL, dispatching, NULL))
        fail("thread");
    struct member member = {atoi(arguments[1]), prepared, send_messages, daemon_cpu_ns};
    obey(&member);
    return 0;
}
