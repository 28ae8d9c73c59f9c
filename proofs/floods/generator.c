/* Sends requests at a given rate over keep-alive connections, and counts the latencies by status.
 *
 *   generator PORT RATE SECONDS CONNECTIONS PATIENCE_MS WAIT_MS REQUESTS [CREATED]
 *
 * Open loop: request n is due n / RATE seconds after the start, whatever became of those before it, and its
 * latency is counted from that moment and not from the one at which a connection was free for it. So a server
 * that is slow cannot slow the generator down and look fast ("coordinated omission"). With RATE 0 each
 * connection sends its next request as soon as it has the last response: that measures capacity.
 *
 * A request for which no connection is free WAIT_MS after it was due is "unsent": a proxy would refuse it.
 * "timed_out": it had no response PATIENCE_MS after it was due. "broken": its connection ended first.
 * REQUESTS is a file of requests, each after a line with its length, which are sent in turn; "##########" in
 * one is replaced by the digits of n. CREATED gets the n of each response 201. Everything goes to 127.0.0.1
 * and ends by itself.
 *
 * Prints a line of JSON when it begins, for each second, and at the end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { SUB = 64, BUCKETS = 22 * SUB, HEAD = 16 * 1024, OUTCOMES = 24, DIGITS = 10 };
enum { UNSENT = 1, TIMED_OUT = 2, BROKEN = 3 };
#define SECOND 1000000000LL

typedef struct { uint32_t bucket[BUCKETS]; uint64_t count, max; } histogram;
typedef struct { int status; histogram second, total; uint64_t without_retry_after; } outcome;
typedef struct { char *text; size_t size, number; } request;
typedef struct {
    int fd, ready;              /* ready: connected, and no request is under way */
    int64_t due, n;
    const request *asked;       /* under way; NULL where none is */
    size_t sent, have;
    int64_t body;               /* bytes of the body that are still to come; -1 before the head is complete */
    int status, closes, retry_after;
    char number[DIGITS + 1], head[HEAD + 1];
} connection;

static outcome outcomes[OUTCOMES];
static request *requests;
static size_t request_count, connection_count;
static connection *connections;
static int *idle;               /* a ring of connections that are ready, the longest unused first */
static size_t idle_first, idle_count;
static int epoll, timer;
static struct sockaddr_in target;
static int64_t began, patience, longest_wait;
static FILE *created;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static void die(const char *what) { perror(what); exit(2); }

/* Buckets of 1/64 of their value at most: 1.6 % is the largest error of a percentile. */
static void add(histogram *h, uint64_t micros) {
    uint64_t most = ((uint64_t)SUB * 2 << (BUCKETS / SUB - 2)) - 1, v = micros > most ? most : micros;
    int shift = v < SUB ? 0 : 63 - __builtin_clzll(v) - 6;
    h->bucket[v < SUB ? v : (uint64_t)(shift + 1) * SUB + (v >> shift) - SUB]++;
    h->count++;
    if (micros > h->max) h->max = micros;
}

static double percentile_ms(const histogram *h, double share) {
    uint64_t wanted = (uint64_t)(share * (double)h->count + 0.999999), seen = 0;
    for (int i = 0; i < BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen < wanted || !h->bucket[i]) continue;
        uint64_t upper = i < SUB ? (uint64_t)i : ((uint64_t)(i % SUB + SUB + 1) << (i / SUB - 1)) - 1;
        return (double)(upper < h->max ? upper : h->max) / 1000;
    }
    return 0;
}

static outcome *outcome_of(int status) {
    for (int i = 0; i < OUTCOMES; i++) {
        if (!outcomes[i].status) outcomes[i].status = status;
        if (outcomes[i].status == status) return &outcomes[i];
    }
    return &outcomes[OUTCOMES - 1];
}

static void count(int status, int64_t due, int retry_after) {
    outcome *o = outcome_of(status);
    uint64_t micros = (uint64_t)((now() - due) / 1000);
    add(&o->second, micros);
    add(&o->total, micros);
    if ((status == 503 || status == 429) && !retry_after) o->without_retry_after++;
}

static void print(const char *name, double value, int whole) {
    const char *names[] = {"", "unsent", "timed_out", "broken"};
    printf("{\"%s\": %.3f, \"outcomes\": {", name, value);
    const char *separator = "";
    for (int i = 0; i < OUTCOMES && outcomes[i].status; i++) {
        outcome *o = &outcomes[i];
        histogram *h = whole ? &o->total : &o->second;
        if (!h->count) continue;
        if (o->status <= BROKEN) printf("%s\"%s\"", separator, names[o->status]);
        else printf("%s\"%d\"", separator, o->status);
        printf(": {\"count\": %lu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f", h->count,
               percentile_ms(h, 0.5), percentile_ms(h, 0.99), (double)h->max / 1000);
        if (whole) printf(", \"without_retry_after\": %lu", o->without_retry_after);
        printf("}");
        separator = ", ";
        if (!whole) memset(h, 0, sizeof *h);
    }
    printf("}}\n");
    fflush(stdout);
}

static void make_idle(connection *c) {
    c->asked = NULL;
    c->have = 0;
    c->ready = 1;
    idle[(idle_first + idle_count++) % connection_count] = (int)(c - connections);
}

static void open_connection(connection *c) {
    int one = 1;
    memset(c, 0, sizeof *c);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = (uint32_t)(c - connections)};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
    if (connect(c->fd, (struct sockaddr *)&target, sizeof target) && errno != EINPROGRESS) {
        close(c->fd);
        c->fd = -1;             /* opened again by look_after() */
    }
}

/* The request that is under way there, if any, has ended like this. */
static void end_connection(connection *c, int status) {
    if (c->asked) count(status, c->due, 0);
    if (c->ready) {             /* it stands in the ring: leave it out */
        size_t kept = 0;
        for (size_t i = 0; i < idle_count; i++) {
            int each = idle[(idle_first + i) % connection_count];
            if (each != c - connections) idle[(idle_first + kept++) % connection_count] = each;
        }
        idle_count = kept;
    }
    if (c->fd >= 0) close(c->fd);
    memset(c, 0, sizeof *c);
    c->fd = -1;
}

static void send_rest(connection *c) {
    while (c->sent < c->asked->size) {
        const char *from = c->asked->text + c->sent;
        size_t size = c->asked->size - c->sent, number = c->asked->number;
        if (number && c->sent >= number && c->sent < number + DIGITS) {
            from = c->number + (c->sent - number);
            size = number + DIGITS - c->sent;
        } else if (number && c->sent < number) {
            size = number - c->sent;
        }
        ssize_t sent = send(c->fd, from, size, MSG_NOSIGNAL | (c->sent + size < c->asked->size ? MSG_MORE : 0));
        if (sent < 0 && errno == EAGAIN) return;
        if (sent < 0) { end_connection(c, BROKEN); return; }
        c->sent += (size_t)sent;
    }
}

static void start(connection *c, int64_t n, int64_t due) {
    c->ready = 0;
    c->asked = &requests[(size_t)n % request_count];
    c->n = n;
    c->due = due;
    c->sent = c->have = 0;
    c->body = -1;
    snprintf(c->number, sizeof c->number, "%010lu", (unsigned long)n % 10000000000UL);
    send_rest(c);
}

static void read_head(connection *c, char *end) {
    *end = 0;
    c->status = atoi(c->head + 9);
    c->closes = c->retry_after = 0;
    c->body = c->status == 204 || c->status == 304 ? 0 : INT64_MAX;
    for (char *line = strchr(c->head, '\n'); line; line = strchr(line, '\n')) {
        line++;
        if (!strncasecmp(line, "content-length:", 15) && c->body) c->body = atoll(line + 15);
        else if (!strncasecmp(line, "connection: close", 17)) c->closes = 1;
        else if (!strncasecmp(line, "retry-after:", 12)) c->retry_after = 1;
    }
    c->body -= (int64_t)(c->have - (size_t)(end + 4 - c->head));
}

static void receive(connection *c) {
    static char body[256 * 1024];
    for (;;) {
        int in_head = !c->asked || c->body < 0;
        ssize_t got = in_head ? recv(c->fd, c->head + c->have, HEAD - c->have, 0)
                              : recv(c->fd, body, sizeof body, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0 || !c->asked) { end_connection(c, BROKEN); return; }
        if (in_head) {
            c->have += (size_t)got;
            c->head[c->have] = 0;
            char *end = strstr(c->head, "\r\n\r\n");
            if (!end && c->have == HEAD) { end_connection(c, BROKEN); return; }
            if (!end) continue;
            read_head(c, end);
        } else {
            c->body -= got;
        }
        if (c->body > 0) continue;
        count(c->status, c->due, c->retry_after);
        if (c->status == 201 && created) fprintf(created, "%ld\n", (long)c->n);
        c->asked = NULL;
        if (c->closes) { end_connection(c, BROKEN); open_connection(c); return; }
        make_idle(c);
    }
}

/* Give up what has waited for too long, and open connections that have ended. */
static void look_after(void) {
    int64_t latest = now() - patience;
    for (size_t i = 0; i < connection_count; i++) {
        connection *c = &connections[i];
        if (c->asked && c->due < latest) end_connection(c, TIMED_OUT);
        if (c->fd < 0) open_connection(c);
    }
}

static void load_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t size;
    if (!file) die(path);
    while (fscanf(file, "%zu", &size) == 1 && fgetc(file) == '\n') {
        requests = realloc(requests, (request_count + 1) * sizeof *requests);
        request *r = &requests[request_count++];
        r->text = malloc(size + 1);
        r->size = size;
        if (fread(r->text, 1, size, file) != size) die("a request is shorter than its length says");
        char *number = memmem(r->text, size, "##########", DIGITS);
        r->number = number ? (size_t)(number - r->text) : 0;
    }
    fclose(file);
    if (!request_count) { fprintf(stderr, "there are no requests\n"); exit(2); }
}

static void wake_at(int64_t at) {
    struct itimerspec t = {.it_value = {at / SECOND, at % SECOND}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &t, NULL);
}

static int64_t due_at(double rate, int64_t n) { return began + (int64_t)((double)n / rate * 1e9); }

/* Send what is due, as far as connections are free. Returns the number of the next request. */
static int64_t send_due(double rate, int64_t next, int64_t end) {
    int64_t t = now();
    while (idle_count && t < end + patience) {
        int64_t due = rate > 0 ? due_at(rate, next) : t;
        if (due > t || due >= end) break;
        if (due < t - patience) { count(UNSENT, due, 0); next++; continue; }   /* the generator itself is late */
        connection *c = &connections[idle[idle_first]];
        idle_first = (idle_first + 1) % connection_count;
        idle_count--;
        start(c, next++, due);
    }
    while (rate > 0 && !idle_count && due_at(rate, next) < end && due_at(rate, next) < t - longest_wait)
        count(UNSENT, due_at(rate, next++), 0);
    return next;
}

static size_t under_way(void) {
    size_t found = 0;
    for (size_t i = 0; i < connection_count; i++) found += connections[i].asked != NULL;
    return found;
}

static void run(double rate, double seconds) {
    struct epoll_event events[512];
    int64_t end = began + (int64_t)(seconds * 1e9), next = 0, tick = began + SECOND, looked = began;
    for (;;) {
        next = send_due(rate, next, end);
        int64_t t = now(), due = rate > 0 ? due_at(rate, next) : end;
        int all_sent = rate > 0 ? due >= end : t >= end;
        if (all_sent && (t > end + patience + SECOND / 2 || !under_way())) break;
        int64_t wake = looked + SECOND / 20;
        wake_at(!all_sent && idle_count && due < wake ? due : wake);
        int found = epoll_wait(epoll, events, 512, 100);
        for (int i = 0; i < found; i++) {
            uint32_t which = events[i].data.u32;
            uint64_t expired;
            if (which == UINT32_MAX) { (void)!read(timer, &expired, sizeof expired); continue; }
            connection *c = &connections[which];
            if (c->fd < 0) continue;
            if (events[i].events & (EPOLLERR | EPOLLHUP)) {
                if (c->asked) receive(c); else end_connection(c, BROKEN);
                continue;
            }
            if (!c->asked && !c->ready && (events[i].events & EPOLLOUT)) make_idle(c);
            if (c->asked && c->sent < c->asked->size) send_rest(c);
            if (c->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLRDHUP))) receive(c);
        }
        t = now();
        if (t - looked >= SECOND / 20) { look_after(); looked = t; }
        for (; t >= tick; tick += SECOND) print("t", (double)(tick - began) / 1e9, 0);
    }
    print("total", (double)(now() - began) / 1e9, 1);
}

int main(int argc, char **argv) {
    if (argc < 8) {
        fprintf(stderr, "usage: generator PORT RATE SECONDS CONNECTIONS PATIENCE_MS WAIT_MS REQUESTS [CREATED]\n");
        return 2;
    }
    connection_count = (size_t)atol(argv[4]);
    patience = atoll(argv[5]) * 1000000;
    longest_wait = atoll(argv[6]) * 1000000;
    load_requests(argv[7]);
    if (argc > 8 && !(created = fopen(argv[8], "w"))) die(argv[8]);
    target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    inet_pton(AF_INET, "127.0.0.1", &target.sin_addr);
    epoll = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = UINT32_MAX};
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &e);
    connections = calloc(connection_count, sizeof *connections);
    idle = calloc(connection_count, sizeof *idle);
    for (size_t i = 0; i < connection_count; i++) open_connection(&connections[i]);
    began = now();
    printf("{\"began\": %.6f}\n", (double)began / 1e9);
    fflush(stdout);
    run(atof(argv[2]), atof(argv[3]));
    if (created) fclose(created);
    return 0;
}
