/* cli_http.c: see cli_http.h. */
#include "daemon/cli_http.h"

#include <curl/curl.h>

static size_t on_bytes(char *bytes, size_t size, size_t count, void *context)
{
	struct buf *answer = context;
	if (answer->len + size * count > CLI_HTTP_BYTES_MAX)
		return 0;
	buf_append(answer, bytes, size * count);
	return buf_failed(answer) ? 0 : size * count;
}

static int map(CURLcode code, const char *url, struct err *e)
{
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_OPERATION_TIMEDOUT:
		return err_set(e, ERR_TIMEOUT, "%s did not answer in time; is the node busy? --timeout waits longer",
			       url);
	case CURLE_COULDNT_CONNECT:
	case CURLE_COULDNT_RESOLVE_HOST:
		return err_set(e, ERR_CLOSED, "%s: %s; `amend fleet status` lists the nodes", url,
			       curl_easy_strerror(code));
	case CURLE_ABORTED_BY_CALLBACK:
		return err_set(e, ERR_INTERRUPTED, "interrupted: %s has not answered yet", url);
	case CURLE_WRITE_ERROR:
		return err_set(e, ERR_LIMIT, "%s: the answer is over %d bytes", url, CLI_HTTP_BYTES_MAX);
	default:
		return err_set(e, ERR_EXTERNAL, "%s: %s", url, curl_easy_strerror(code));
	}
}

static int on_progress(void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
	const struct cli_http_ask *ask = context;
	(void)down_total, (void)down, (void)up_total, (void)up;
	return *ask->interrupted != 0;
}

int cli_http(const struct cli_http_ask *ask, long *status, struct buf *answer, struct err *e)
{
	CURL *curl = curl_easy_init();
	struct curl_slist *headers = curl_slist_append(NULL, "content-type: application/json");
	if (curl == NULL || headers == NULL) {
		curl_slist_free_all(headers);
		curl_easy_cleanup(curl);
		return err_set(e, ERR_NOMEM, "out of memory for an HTTP request");
	}
	curl_easy_setopt(curl, CURLOPT_URL, ask->url);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)ask->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)(uintptr_t)ask);
	if (ask->body != NULL) {
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, ask->body);
	}
	int rc = map(curl_easy_perform(curl), ask->url, e);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, status);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	return rc;
}
