/* What the member processes in C share; bench/suite/member.py says what is spoken and why. */
#ifndef RINGPROTO_BENCH_MEMBER_H
#define RINGPROTO_BENCH_MEMBER_H
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HEADER_SIZE 16

enum kind { SATURATE = 0, PING = 1, PACED = 2, LISTEN = 3 };

struct run {
    int kind, round, sending;
    size_t size;
    uint64_t offset_ns, interval_ns, total; /* an open loop */
    uint64_t start_ns, measure_ns, end_ns;
    uint64_t first_word;
};

struct header {
    uint64_t word, due_ns;
};

/* What a program does for its member. Each is called in the thread that called obey(), but for send(), which has a thread
   of its own and returns how many messages it sent. */
struct member {
    int node;
    void (*prepared)(const struct run *run);
    uint64_t (*send)(const struct run *run);
    uint64_t (*companion_cpu_ns)(void); /* processor time of another process that works for this one, or NULL */
};

uint64_t now_ns(void);
void sleep_until(uint64_t time_ns);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void fail(const char *what) __attribute__((noreturn));

/* Where the log will go, said before the process enters another mount namespace, where that place may be hidden. */
void log_to(const char *stem);

/* A batch came: keep its headers. One thread at a time. */
void log_headers(uint64_t time_ns, const struct header *headers, size_t count);
uint64_t log_count(void);

/* Do what the supervisor says until it says no more. */
void obey(const struct member *member);
#endif
