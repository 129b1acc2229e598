#include "tests/lib/store_fixture.h"

#include "base/fault.h"

const uint8_t fixture_actor[STORE_KEY_BYTES] = "actor";

int fixture_setup_closed(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	if (f == NULL)
		return -1;
	test_folder_make(f->folder);
	env_manual_init(&f->clock, 1);
	f->options.env = &f->clock.env;
	*state = f;
	return 0;
}

int fixture_setup(void **state)
{
	int rc = fixture_setup_closed(state);
	if (rc == 0)
		fixture_open(*state);
	return rc;
}

int fixture_teardown(void **state)
{
	struct fixture *f = *state;
	fault_set(-1, 0);
	fault_disarm_all();
	store_abort(&f->txn);
	store_close(&f->store);
	test_folder_remove(f->folder);
	free(f);
	return 0;
}

void fixture_open(struct fixture *f)
{
	OK(f, store_open(f->folder, &f->options, &f->store, &f->e));
}

void fixture_reopen(struct fixture *f)
{
	store_close(&f->store);
	assert_null(f->store);
	fixture_open(f);
}

void fixture_begin(struct fixture *f)
{
	OK(f, store_begin(f->store, &f->txn, &f->e));
}

void fixture_begin_read(struct fixture *f)
{
	OK(f, store_begin_read(f->store, &f->txn, &f->e));
}

void fixture_commit(struct fixture *f)
{
	OK(f, store_commit(&f->txn, &f->e));
	assert_null(f->txn);
}

void fixture_abort(struct fixture *f)
{
	store_abort(&f->txn);
	assert_null(f->txn);
}

uint64_t fixture_event(struct fixture *f, const char *payload)
{
	uint64_t seq = 0;
	OK(f,
	   store_event_append(f->txn, STORE_EVENT_EDIT_ACCEPTED, fixture_actor, payload, strlen(payload), &seq, &f->e));
	return seq;
}

size_t fixture_tamper(const struct fixture *f, const char *environment, const void *needle, size_t needle_len,
		      size_t at)
{
	char path[TEST_PATH_BYTES + 32];
	struct buf file = BUF_INIT;
	struct err e = ERR_INIT;
	size_t count = 0;
	snprintf(path, sizeof(path), "%s/%s/data.mdb", f->folder, environment);
	assert_ok(&e, file_read(path, (size_t)1 << 30, &file, &e));
	uint8_t *p = file.data;
	const uint8_t *end = file.data + file.len;
	while ((p = memmem(p, (size_t)(end - p), needle, needle_len)) != NULL) {
		p[at] ^= 1;
		p += at + 1;
		count++;
	}
	assert_ok(&e, file_write_atomic(path, file.data, file.len, 0600, &e));
	buf_free(&file);
	return count;
}
