/* A member process that sends bare datagrams: what the kernel allows.

   raw_udp_member NODE COUNT LOG PROGRESS INTERFACE PORT OFFLOAD

   No protocol: no order, no acknowledgement, no repair. Each node multicasts to a group of its own, and joins those of
   the others, so nobody hears himself; what a member sends counts as delivered to itself. A message larger than a frame is
   sent as several datagrams and counts when its last one came and none before it was missing. So that the receive buffers
   do not overflow, a sender looks at how far the receivers are, in a file that all have mapped: that costs no datagram, and
   a protocol would have to pay for it. OFFLOAD: with segmentation offload (UDP_SEGMENT, UDP_GRO), or with sendmmsg and
   recvmmsg of 32. */
#define _GNU_SOURCE
#include "member.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#define NODES_MAX 16
#define DATAGRAM 1400
#define SEGMENTS_MAX 64
#define CALL_BYTES 65000
#define MESSAGES_A_CALL 32
#define BUFFER_BYTES (16 << 20)
#define DATAGRAM_COST 2560 /* what the kernel counts for a datagram of a frame, about */
#define STUCK_NS 20000000u

struct part { /* in front of every datagram */
    struct header header;
    uint32_t index, count;
};

struct progress {
    _Alignas(64) atomic_uint_fast64_t datagrams[NODES_MAX]; /* received, by sender */
};

static int node, nodes, offload, sock;
static struct progress *progress; /* by receiver */
static uint64_t window;           /* datagrams on the way */
static struct sockaddr_in group;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t next_index[NODES_MAX]; /* of the message that is coming in, by sender */
static char out[MESSAGES_A_CALL][CALL_BYTES + DATAGRAM];

static void note(const struct header *headers, size_t count)
{
    pthread_mutex_lock(&log_lock);
    log_headers(now_ns(), headers, count);
    pthread_mutex_unlock(&log_lock);
}

static struct in_addr group_of(int number)
{
    struct in_addr address = {htonl(0xefc04d00u + (uint32_t)number)}; /* 239.192.77.number */
    return address;
}

static void open_socket(const char *interface, int port)
{
    int one = 1, zero = 0, bytes = BUFFER_BYTES;
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct in_addr local;
    if (!inet_aton(interface, &local))
        fail("the interface's address");
    sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        setsockopt(sock, IPPROTO_IP, IP_MULTICAST_ALL, &zero, sizeof zero) ||
        bind(sock, (struct sockaddr *)&own, sizeof own) ||
        setsockopt(sock, IPPROTO_IP, IP_MULTICAST_IF, &local, sizeof local))
        fail("socket");
    if (setsockopt(sock, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes))
        setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes))
        setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    for (int other = 1; other <= nodes; other++) {
        struct ip_mreq request = {group_of(other), local};
        if (other != node && setsockopt(sock, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request))
            fail("joining a group");
    }
    if (offload && setsockopt(sock, IPPROTO_UDP, UDP_GRO, &one, sizeof one))
        fail("UDP_GRO");
    socklen_t length = sizeof bytes;
    getsockopt(sock, SOL_SOCKET, SO_RCVBUF, &bytes, &length);
    window = (uint64_t)bytes / DATAGRAM_COST / 4 / (uint64_t)(nodes - 1);
    group = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = group_of(node)};
}

/* Receiving */

static struct header complete[65536];

static size_t take_datagram(const char *data, size_t size, size_t found)
{
    struct part part;
    if (size < sizeof part)
        return found;
    memcpy(&part, data, sizeof part);
    int sender = (int)(part.header.word >> 48 & 0xff);
    if (sender < 1 || sender > nodes)
        return found;
    uint64_t so_far = atomic_load_explicit(&progress[node - 1].datagrams[sender - 1], memory_order_relaxed);
    atomic_store_explicit(&progress[node - 1].datagrams[sender - 1], so_far + 1, memory_order_release);
    if (part.index != 0 && part.index != next_index[sender - 1])
        return found; /* something before it was lost */
    next_index[sender - 1] = part.index + 1;
    if (part.index + 1 == part.count)
        complete[found++] = part.header;
    return found;
}

static void *receiving(void *nothing)
{
    static char in[MESSAGES_A_CALL][1 << 16];
    static char control[MESSAGES_A_CALL][CMSG_SPACE(sizeof(int))];
    static struct mmsghdr messages[MESSAGES_A_CALL];
    static struct iovec vectors[MESSAGES_A_CALL];
    for (;;) {
        for (int i = 0; i < MESSAGES_A_CALL; i++) {
            vectors[i] = (struct iovec){in[i], sizeof in[i]};
            messages[i].msg_hdr = (struct msghdr){
                .msg_iov = &vectors[i], .msg_iovlen = 1, .msg_control = control[i], .msg_controllen = sizeof control[i]};
        }
        int got = recvmmsg(sock, messages, MESSAGES_A_CALL, MSG_WAITFORONE, NULL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            fail("recvmmsg");
        size_t found = 0;
        for (int i = 0; i < got; i++) {
            size_t size = messages[i].msg_len, segment = size;
            struct cmsghdr *c = CMSG_FIRSTHDR(&messages[i].msg_hdr);
            for (; c; c = CMSG_NXTHDR(&messages[i].msg_hdr, c))
                if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
                    int value;
                    memcpy(&value, CMSG_DATA(c), sizeof value);
                    segment = (size_t)value;
                }
            for (size_t at = 0; at < size; at += segment)
                found = take_datagram(in[i] + at, at + segment <= size ? segment : size - at, found);
        }
        if (found)
            note(complete, found);
    }
    return nothing;
}

static void prepared(const struct run *run)
{
    (void)run;
    for (int i = 0; i < nodes; i++)
        atomic_store(&progress[node - 1].datagrams[i], 0);
    memset(next_index, 0, sizeof next_index);
}

/* Sending */

static uint64_t slowest(void)
{
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < nodes; i++)
        if (i != node - 1) {
            uint64_t one = atomic_load_explicit(&progress[i].datagrams[node - 1], memory_order_acquire);
            least = one < least ? one : least;
        }
    return least;
}

/* Wait until there is room for more. What seems lost is waited for no longer. */
static void wait_for_room(uint64_t sent, uint64_t *given_up, uint64_t end_ns)
{
    uint64_t since = now_ns(), seen = slowest(), now = since;
    while (sent - *given_up > seen && sent - *given_up - seen > window && now < end_ns) {
        sched_yield();
        uint64_t look = slowest();
        now = now_ns();
        if (look != seen) {
            seen = look;
            since = now;
        } else if (now - since > STUCK_NS)
            *given_up = sent - seen;
    }
}

static void attach_segment_size(struct msghdr *message, char *control, size_t room, uint16_t size)
{
    memset(control, 0, room);
    message->msg_control = control;
    message->msg_controllen = CMSG_SPACE(sizeof size);
    struct cmsghdr *c = CMSG_FIRSTHDR(message);
    c->cmsg_level = IPPROTO_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof size);
    memcpy(CMSG_DATA(c), &size, sizeof size);
}

static uint64_t saturate(const struct run *run)
{
    static struct mmsghdr messages[MESSAGES_A_CALL];
    static struct iovec vectors[MESSAGES_A_CALL];
    static char control[CMSG_SPACE(sizeof(uint16_t))];
    static struct header whole[MESSAGES_A_CALL * SEGMENTS_MAX];
    uint32_t parts = run->size <= DATAGRAM ? 1 : (uint32_t)((run->size + DATAGRAM - 1) / DATAGRAM);
    size_t datagram = parts == 1 ? run->size : DATAGRAM;
    size_t segments = offload ? CALL_BYTES / datagram : 1;
    uint64_t sent = 0, datagrams = 0, given_up = 0;
    uint32_t index = 0;
    if (segments > SEGMENTS_MAX)
        segments = SEGMENTS_MAX;
    size_t calls = offload ? 1 : MESSAGES_A_CALL;
    /* The last message is sent whole, whatever the time. */
    while (now_ns() < run->end_ns || index) {
        size_t finished = 0;
        for (size_t i = 0; i < calls; i++) {
            for (size_t k = 0; k < segments; k++) {
                struct part part = {{run->first_word + sent + finished, 0}, index, parts};
                memcpy(out[i] + k * datagram, &part, sizeof part);
                if (++index == parts) {
                    whole[finished++] = part.header;
                    index = 0;
                }
            }
            vectors[i] = (struct iovec){out[i], segments * datagram};
            messages[i].msg_hdr = (struct msghdr){
                .msg_name = &group, .msg_namelen = sizeof group, .msg_iov = &vectors[i], .msg_iovlen = 1};
        }
        if (offload)
            attach_segment_size(&messages[0].msg_hdr, control, sizeof control, (uint16_t)datagram);
        wait_for_room(datagrams, &given_up, run->end_ns);
        for (size_t done = 0; done < calls;) {
            int now = sendmmsg(sock, messages + done, (unsigned)(calls - done), 0);
            if (now < 0 && errno != EINTR && errno != ENOBUFS)
                fail("sendmmsg");
            done += now > 0 ? (size_t)now : 0;
        }
        datagrams += calls * segments;
        if (finished)
            note(whole, finished);
        sent += finished;
    }
    return sent;
}

static uint64_t send_messages(const struct run *run)
{
    return run->kind == SATURATE ? saturate(run) : 0;
}

int main(int count, char **arguments)
{
    pthread_t receiver;
    if (count != 8) {
        fprintf(stderr, "usage: raw_udp_member NODE COUNT LOG PROGRESS INTERFACE PORT OFFLOAD\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    node = atoi(arguments[1]);
    nodes = atoi(arguments[2]);
    offload = atoi(arguments[7]);
    if (nodes < 2 || nodes > NODES_MAX || node < 1 || node > nodes) {
        errno = 0;
        fail("nodes are 1 to COUNT, and COUNT is 2 to 16");
    }
    log_to(arguments[3]);
    int file = open(arguments[4], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, NODES_MAX * sizeof *progress))
        fail(arguments[4]);
    progress = mmap(NULL, NODES_MAX * sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (progress == MAP_FAILED)
        fail("mmap");
    open_socket(arguments[5], atoi(arguments[6]));
    if (pthread_create(&receiver, NULL, receiving, NULL))
        fail("thread");
    say("{\"said\": \"complete\", \"members\": %d, \"time_ns\": %llu}", nodes, (unsigned long long)now_ns());
    struct member member = {node, prepared, send_messages, NULL};
    obey(&member);
    return 0;
}
