/* Threads that share out the chunks of a job.

   Whoever is free takes the next chunk, so that a thread that the system doesn't run holds nobody
   up: nobody waits for it to arrive. A thread without work looks for some for microseconds, then
   sleeps. */
#define _GNU_SOURCE
#include "network.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { MOST_THREADS = 64, LOOKS = 2000, CHUNK_BITS = 16, MOST_CHUNKS = (1 << CHUNK_BITS) - 1 };

/* The job's number, how many chunks it has and the next one: a thread that took the wrong job's
   description for this one's can't take a chunk of it. */
static _Atomic uint64_t ticket;
static _Atomic(job *) current_job;
static _Atomic(const void *) current_work;
static atomic_int current_threads, finished, sleeping;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wanted = PTHREAD_COND_INITIALIZER;
static int32_t started = 1;

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static int has_chunks(uint64_t seen)
{
    return (seen & MOST_CHUNKS) < ((seen >> CHUNK_BITS) & MOST_CHUNKS);
}

/* Take chunks of the job on offer while there are any; returns whether there were. */
static int take_chunks(int32_t thread)
{
    int any = 0;
    uint64_t seen = atomic_load(&ticket);
    while (has_chunks(seen)) {
        job *work_on = atomic_load(&current_job);
        const void *work = atomic_load(&current_work);
        if (thread >= atomic_load(&current_threads))
            return any;
        if (atomic_compare_exchange_weak(&ticket, &seen, seen + 1)) {
            work_on(work, (int32_t)(seen & MOST_CHUNKS), thread);
            atomic_fetch_add(&finished, 1);
            any = 1;
            seen = atomic_load(&ticket);
        }
    }
    return any;
}

static void sleep_until_wanted(void)
{
    pthread_mutex_lock(&lock);
    atomic_fetch_add(&sleeping, 1);
    if (!has_chunks(atomic_load(&ticket)))
        pthread_cond_wait(&wanted, &lock);
    atomic_fetch_sub(&sleeping, 1);
    pthread_mutex_unlock(&lock);
}

static void *help(void *number)
{
    for (int looks = 0;;) {
        if (take_chunks((int32_t)(intptr_t)number))
            looks = 0;
        else if (++looks < LOOKS)
            relax();
        else {
            sleep_until_wanted();
            looks = 0;
        }
    }
    return NULL;
}

static void start_threads(int32_t threads)
{
    for (; started < threads && started < MOST_THREADS; started++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, help, (void *)(intptr_t)started))
            return; /* the chunks are done by those that there are */
        pthread_detach(thread);
    }
}

void pool_run(job *work_on, const void *work, int32_t count, int32_t threads)
{
    if (threads <= 1 || count <= 1) {
        for (int32_t chunk = 0; chunk < count; chunk++)
            work_on(work, chunk, 0);
        return;
    }
    start_threads(threads);
    atomic_store(&current_job, work_on);
    atomic_store(&current_work, work);
    atomic_store(&current_threads, threads);
    atomic_store(&finished, 0);
    uint64_t number = (atomic_load(&ticket) >> (2 * CHUNK_BITS)) + 1;
    atomic_store(&ticket, number << (2 * CHUNK_BITS) | (uint64_t)count << CHUNK_BITS);
    if (atomic_load(&sleeping)) {
        pthread_mutex_lock(&lock);
        pthread_cond_broadcast(&wanted);
        pthread_mutex_unlock(&lock);
    }
    take_chunks(0);
    for (int looks = 0; atomic_load(&finished) < count; looks++) {
        if (looks < LOOKS)
            relax();
        else
            sched_yield(); /* another one has a chunk, but perhaps not the processor */
    }
}
