#include "tests/sim/campaign.h"

#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX 64

struct shared { /* with the children */
	pthread_mutex_t lock;
	uint64_t next, end;
	uint64_t running[JOBS_MAX];
	bool busy[JOBS_MAX];
	struct campaign campaign;
};

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void finding_add(struct campaign *campaign, uint64_t seed, const char *text)
{
	if (campaign->broken < CAMPAIGN_BROKEN_MAX) {
		campaign->findings[campaign->broken].seed = seed;
		snprintf(campaign->findings[campaign->broken].text, SIM_TEXT_BYTES, "%s", text);
	}
	campaign->broken++;
}

static void result_add(struct campaign *campaign, uint64_t seed, const struct sim_result *one)
{
	struct sim_result *total = &campaign->total;
	campaign->seeds++;
	sim_tally_add(&total->tally, &one->tally);
	total->fault_total += one->fault_total;
	total->messages += one->messages;
	total->requests += one->requests;
	total->crashes += one->crashes;
	total->torn_sectors += one->torn_sectors;
	total->disk_operations += one->disk_operations;
	total->edits_acked += one->edits_acked;
	total->edits_unknown += one->edits_unknown;
	total->edits_refused += one->edits_refused;
	total->versions += one->versions;
	total->events += one->events;
	total->checks += one->checks;
	total->simulated_ms += one->simulated_ms;
	total->digest ^= rng_derive(one->digest, seed, 0);
	if (one->settle_ms > total->settle_ms)
		total->settle_ms = one->settle_ms;
	if (one->broken)
		finding_add(campaign, seed, one->text);
}

/* ---- Children */

static void child(struct shared *shared, const struct campaign_options *options, size_t job, const char *folder)
{
	for (;;) {
		pthread_mutex_lock(&shared->lock);
		bool more = shared->next < shared->end && shared->campaign.broken < options->broken_max;
		struct sim_options one = { .seed = shared->next, .plant = options->plant, .folder = folder };
		shared->busy[job] = more;
		shared->running[job] = one.seed;
		shared->next += more;
		pthread_mutex_unlock(&shared->lock);
		if (!more)
			_exit(0);
		struct sim_result result;
		sim_run(&one, &result);
		pthread_mutex_lock(&shared->lock);
		result_add(&shared->campaign, one.seed, &result);
		if (result.broken && options->progress)
			fprintf(stderr, "seed %" PRIu64 ": %s\n", one.seed, result.text);
		pthread_mutex_unlock(&shared->lock);
	}
}

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at)
{
	(void)s, (void)type, (void)at;
	return remove(path);
}

static void folder_make(char *out, size_t out_bytes)
{
	struct stat st;
	const char *parent = stat("/dev/shm", &st) == 0 && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(out, out_bytes, "%s/amend-sim.XXXXXX", parent);
	if (mkdtemp(out) == NULL) {
		perror(out);
		abort();
	}
}

static void death_tell(int status, char *text, size_t text_bytes)
{
	snprintf(text, text_bytes, "the program died: %s %d (an assertion? see its message above)",
		 WIFSIGNALED(status) ? "signal" : "exit status",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

static pid_t spawn(struct shared *shared, const struct campaign_options *options, size_t job, const char *folder)
{
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		abort();
	if (pid == 0) {
		char own[SIM_PATH_BYTES];
		snprintf(own, sizeof own, "%.200s/%d", folder, (int)getpid());
		if (mkdir(own, 0700) != 0)
			abort();
		child(shared, options, job, own);
	}
	return pid;
}

/* A child that dies leaves its seed behind as a finding, and another goes on. */
static bool child_ended(struct shared *shared, size_t job, int status)
{
	char text[SIM_TEXT_BYTES];
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return false;
	death_tell(status, text, sizeof text);
	pthread_mutex_lock(&shared->lock);
	if (shared->busy[job]) {
		shared->campaign.seeds++;
		finding_add(&shared->campaign, shared->running[job], text);
	}
	pthread_mutex_unlock(&shared->lock);
	return true;
}

void campaign_run_one(const struct sim_options *options, struct sim_result *result, struct sim_story *story)
{
	struct one {
		struct sim_result result;
		struct sim_story story;
	} *one = mmap(NULL, sizeof *one, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct sim_options own = *options;
	char folder[SIM_PATH_BYTES];
	int status = 0;
	if (one == MAP_FAILED)
		abort();
	folder_make(folder, sizeof folder);
	own.folder = folder;
	own.story = &one->story;
	fflush(NULL);
	pid_t pid = fork();
	if (pid == 0) {
		sim_run(&own, &one->result);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	if (status != 0) {
		one->result.broken = true;
		death_tell(status, one->result.text, sizeof one->result.text);
	}
	*result = one->result;
	if (story != NULL)
		*story = one->story;
	munmap(one, sizeof *one);
	(void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static double children_core_s(void)
{
	struct rusage usage;
	if (getrusage(RUSAGE_CHILDREN, &usage) != 0)
		return 0;
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void campaign_run(const struct campaign_options *options, struct campaign *out)
{
	char folder[SIM_PATH_BYTES];
	pid_t pids[JOBS_MAX];
	double began = now_s(), told = began, core_s = children_core_s();
	size_t jobs = options->jobs < 1 ? 1 : options->jobs > JOBS_MAX ? JOBS_MAX : options->jobs, left = jobs;
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t attr;
	if (shared == MAP_FAILED)
		abort();
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&shared->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	shared->next = options->first;
	shared->end = options->first + options->count;
	folder_make(folder, sizeof folder);
	for (size_t i = 0; i < jobs; i++)
		pids[i] = spawn(shared, options, i, folder);
	while (left > 0) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);
		for (size_t i = 0; pid > 0 && i < jobs; i++) {
			if (pids[i] != pid)
				continue;
			if (child_ended(shared, i, status))
				pids[i] = spawn(shared, options, i, folder);
			else
				left--;
		}
		if (pid == 0)
			usleep(20000);
		if (options->progress && now_s() - told > 10) {
			told = now_s();
			fprintf(stderr, "%" PRIu64 " seeds, %" PRIu64 " broken, %.1f seeds/s\n", shared->campaign.seeds,
				shared->campaign.broken, (double)shared->campaign.seeds / (told - began));
		}
	}
	*out = shared->campaign;
	out->seconds = now_s() - began;
	out->core_seconds = children_core_s() - core_s;
	munmap(shared, sizeof *shared);
	(void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void campaign_print(const struct campaign *campaign)
{
	const struct sim_result *total = &campaign->total;
	double seeds = campaign->seeds > 0 ? (double)campaign->seeds : 1;
	printf("seeds=%" PRIu64 " seconds=%.1f core_seconds=%.1f; of a seed: core_seconds=%.3f simulated_seconds=%.1f "
	       "faults=%.1f requests=%.1f edits=%.1f messages=%.0f disk_operations=%.0f\n",
	       campaign->seeds, campaign->seconds, campaign->core_seconds, campaign->core_seconds / seeds,
	       (double)total->simulated_ms / 1000 / seeds, (double)total->fault_total / seeds,
	       (double)total->requests / seeds, (double)total->edits_acked / seeds, (double)total->messages / seeds,
	       (double)total->disk_operations / seeds);
	(void)sim_tally_print(&total->tally);
	printf("crashes=%" PRIu64 " torn_sectors=%" PRIu64 " disk_operations=%" PRIu64 " messages=%" PRIu64 "\n",
	       total->crashes, total->torn_sectors, total->disk_operations, total->messages);
	printf("edits: acked=%" PRIu64 " unknown=%" PRIu64 " refused=%" PRIu64 "; events=%" PRIu64 " versions=%" PRIu64
	       " checks=%" PRIu64 " longest_settle_ms=%" PRId64 "\n",
	       total->edits_acked, total->edits_unknown, total->edits_refused, total->events, total->versions,
	       total->checks, total->settle_ms);
	printf("digest=%016" PRIx64 " broken=%" PRIu64 "\n", total->digest, campaign->broken);
}
