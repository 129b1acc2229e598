/* metrics_page.c: see metrics_page.h. */
#include "daemon/metrics_page.h"

#include "base/fault.h"
#include "base/metrics.h"
#include "base/process.h"
#include "daemon/http.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#define PAGE_BODY_BYTES_MAX 4096
#define PAGE_CONNECTIONS    32
#define PAGE_IDLE_SECONDS   30
#define PAGE_HEADER_MS      10000
#define PAGE_BODY_MS        10000

struct metrics_page {
	struct http_server *server;
	const struct env *env;
	int64_t stale_us;
	pthread_mutex_t lock;
	struct buf text;
	int64_t set_us;
};

static double open_descriptors(void)
{
	size_t count = 0;
	DIR *folder = opendir("/proc/self/fd");
	if (folder == NULL)
		return 0;
	for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
		count += entry->d_name[0] != '.';
	closedir(folder);
	return (double)(count - 1); /* its own */
}

/* Start of the process in Unix time: field 22 of /proc/self/stat counts clock ticks since boot. */
static double start_seconds(void)
{
	char text[1024];
	double uptime = 0;
	unsigned long long ticks = 0;
	struct timeval now;
	FILE *f = fopen("/proc/self/stat", "r");
	size_t len = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
	if (f != NULL)
		fclose(f);
	text[len] = '\0';
	const char *after_name = strrchr(text, ')');
	if (after_name == NULL ||
	    sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		   &ticks) != 1)
		return 0;
	f = fopen("/proc/uptime", "r");
	int fields = f != NULL ? fscanf(f, "%lf", &uptime) : 0;
	if (f != NULL)
		fclose(f);
	gettimeofday(&now, NULL);
	return fields == 1 ? (double)now.tv_sec - uptime + (double)ticks / (double)sysconf(_SC_CLK_TCK) : 0;
}

void metrics_process(struct buf *out)
{
	struct rusage usage;
	double cpu = 0;
	if (getrusage(RUSAGE_SELF, &usage) == 0)
		cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		      (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	metrics_head(out, "amend_build_info", "gauge", "Version of the program.");
	buf_printf(out, "amend_build_info{version=\"%s\"} 1\n", AMEND_VERSION);
	metrics_value(out, "process_resident_memory_bytes", "gauge", "Resident memory.",
		      (double)process_resident_bytes());
	metrics_value(out, "process_cpu_seconds_total", "counter", "User and system CPU time.", cpu);
	metrics_value(out, "process_open_fds", "gauge", "Open file descriptors.", open_descriptors());
	metrics_value(out, "process_start_time_seconds", "gauge", "Start of the process, Unix time.", start_seconds());
}

static void metrics_reply(struct metrics_page *page, struct http_exchange *x)
{
	struct buf text = BUF_INIT;
	pthread_mutex_lock(&page->lock);
	buf_append(&text, page->text.data, page->text.len);
	pthread_mutex_unlock(&page->lock);
	http_metrics_print(x, &text);
	metrics_process(&text);
	http_reply(x, 200, METRICS_CONTENT_TYPE, &text);
}

/* This thread lives whatever the loop does: what counts is when the loop was here last. */
static void health_reply(struct metrics_page *page, struct http_exchange *x)
{
	struct buf text = BUF_INIT;
	pthread_mutex_lock(&page->lock);
	int64_t silent_us = env_monotonic_us(page->env) - page->set_us;
	pthread_mutex_unlock(&page->lock);
	bool ok = silent_us <= page->stale_us;
	buf_printf(&text, "{\"status\":\"%s\"}\n", ok ? "ok" : "stuck");
	http_reply(x, ok ? 200 : 503, "application/json", &text);
}

static void on_request(void *context, struct http_exchange *x)
{
	struct metrics_page *page = context;
	const char *path = http_path(x);
	struct buf text = BUF_INIT;
	if (!http_method_is(x, "GET")) {
		buf_puts(&text, "only GET is served here\n");
		http_header_set(x, "allow", "GET, HEAD");
		http_reply(x, 405, "text/plain", &text);
	} else if (strcmp(path, "/metrics") == 0) {
		metrics_reply(page, x);
	} else if (strcmp(path, "/health") == 0) {
		health_reply(page, x);
	} else {
		buf_puts(&text, "no such page; there are /metrics and /health\n");
		http_reply(x, 404, "text/plain", &text);
	}
}

int metrics_page_open(const char *listen, int64_t stale_ms, const struct env *env, struct metrics_page **out,
		      struct err *e)
{
	struct metrics_page *page = fault_calloc(1, sizeof *page);
	if (page == NULL)
		return err_set(e, ERR_NOMEM, "out of memory for the metrics page");
	page->env = env;
	page->stale_us = stale_ms * 1000;
	page->set_us = env_monotonic_us(env);
	pthread_mutex_init(&page->lock, NULL);
	struct http_config config = { .listen = listen,
				      .body_bytes_max = PAGE_BODY_BYTES_MAX,
				      .connections_max = PAGE_CONNECTIONS,
				      .thread_count = 1,
				      .idle_seconds = PAGE_IDLE_SECONDS,
				      .header_ms = PAGE_HEADER_MS,
				      .body_ms = PAGE_BODY_MS };
	int rc = http_server_open(&config, on_request, page, &page->server, e);
	if (rc != 0) {
		err_wrap(e, "metrics page");
		metrics_page_close(&page);
		return rc;
	}
	*out = page;
	return 0;
}

const char *metrics_page_address(const struct metrics_page *page)
{
	return http_server_address(page->server);
}

void metrics_page_set(struct metrics_page *page, const struct buf *text)
{
	struct buf copy = BUF_INIT;
	buf_append(&copy, text->data, text->len);
	pthread_mutex_lock(&page->lock);
	page->set_us = env_monotonic_us(page->env);
	struct buf old = page->text;
	if (!buf_failed(&copy) && !buf_failed(text)) { /* else the page keeps what it showed */
		page->text = copy;
		copy = old;
	}
	pthread_mutex_unlock(&page->lock);
	buf_free(&copy);
}

void metrics_page_close(struct metrics_page **page)
{
	struct metrics_page *p = *page;
	if (p == NULL)
		return;
	http_server_close(&p->server);
	buf_free(&p->text);
	pthread_mutex_destroy(&p->lock);
	free(p);
	*page = NULL;
}
