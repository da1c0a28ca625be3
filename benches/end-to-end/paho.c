/* The worker on Eclipse Paho's C client (MQTTAsync), with the arguments and the
 * output of the other workers:
 *   paho publish|receive PORT CLIENT_ID QOS SIZE WINDOW COUNT LIMIT_MS
 * prints messages, nanoseconds and nanoseconds of CPU time. */
#define _GNU_SOURCE
#include <MQTTAsync.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TOPIC "end/to/end/benchmark"

static MQTTAsync client;
static sem_t connected, places, all_done;
static atomic_long done;
static long count;
static int size;

static int64_t clock_ns(clockid_t id)
{
    struct timespec at;
    clock_gettime(id, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void fail(const char *what, int code)
{
    fprintf(stderr, "paho: %s: %d\n", what, code);
    exit(1);
}

static void on_connect(void *context, MQTTAsync_successData *data)
{
    sem_post(&connected);
}

static void on_failure(void *context, MQTTAsync_failureData *data)
{
    fail("failure", data ? data->code : 0);
}

static void on_sent(void *context, MQTTAsync_successData *data)
{
    atomic_fetch_add(&done, 1);
    sem_post(&places);
}

/* Reads every byte, as the other workers do. */
static uint64_t sum(const unsigned char *bytes, int len)
{
    uint64_t total = 0;
    for (int i = 0; i < len; i++)
        total += bytes[i];
    return total;
}

static int on_message(void *context, char *topic, int topic_len, MQTTAsync_message *message)
{
    static volatile uint64_t total;
    if (message->payloadlen != size)
        fail("length", message->payloadlen);
    total += sum(message->payload, message->payloadlen);
    MQTTAsync_freeMessage(&message);
    MQTTAsync_free(topic);
    if (atomic_fetch_add(&done, 1) + 1 == count)
        sem_post(&all_done);
    return 1;
}

static void wait_for(sem_t *semaphore, int64_t until)
{
    struct timespec at = {until / 1000000000LL, until % 1000000000LL};
    sem_clockwait(semaphore, CLOCK_MONOTONIC, &at);
}

static long publish(int qos, int window, int64_t until)
{
    unsigned char *payload = malloc(size);
    memset(payload, 'x', size);
    MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
    options.onSuccess = on_sent;
    options.onFailure = on_failure;
    sem_init(&places, 0, window);
    long sent = 0;
    for (int last = 0; !last; sent++) {
        sem_wait(&places);
        last = sent + 1 == count || clock_ns(CLOCK_MONOTONIC) > until;
        memcpy(payload, &sent, sizeof sent);
        int code = MQTTAsync_send(client, TOPIC, size, payload, last && qos == 0 ? 1 : qos, 0, &options);
        if (code != MQTTASYNC_SUCCESS)
            fail("send", code);
    }
    for (int i = 0; i < window; i++)
        sem_wait(&places);
    return sent;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        for (MQTTAsync_nameValue *info = MQTTAsync_getVersionInfo(); info->name; info++)
            if (!strcmp(info->name, "Version"))
                puts(info->value);
        return 0;
    }
    if (argc != 9)
        return 2;
    int receives = !strcmp(argv[1], "receive");
    int qos = atoi(argv[4]), window = atoi(argv[6]);
    size = atoi(argv[5]);
    count = atol(argv[7]);
    int64_t limit = atoll(argv[8]) * 1000000LL;

    char address[64];
    snprintf(address, sizeof address, "tcp://127.0.0.1:%s", argv[2]);
    sem_init(&connected, 0, 0);
    sem_init(&all_done, 0, 0);
    int code = MQTTAsync_create(&client, address, argv[3], MQTTCLIENT_PERSISTENCE_NONE, NULL);
    if (code != MQTTASYNC_SUCCESS)
        fail("create", code);
    MQTTAsync_setCallbacks(client, NULL, NULL, on_message, NULL);
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
    options.keepAliveInterval = 60;
    options.cleansession = !receives;
    options.maxInflight = window;
    options.onSuccess = on_connect;
    options.onFailure = on_failure;

    int64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    MQTTAsync_connect(client, &options);
    long messages;
    if (receives) {
        wait_for(&all_done, wall + limit);
        messages = atomic_load(&done);
    } else {
        sem_wait(&connected);
        wall = clock_ns(CLOCK_MONOTONIC);
        cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
        messages = publish(qos, window, wall + limit);
    }
    printf("%ld %lld %lld\n", messages, (long long)(clock_ns(CLOCK_MONOTONIC) - wall),
           (long long)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu));
    fflush(stdout);
    _Exit(0);
}
