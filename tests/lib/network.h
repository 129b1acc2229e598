/* network.h: a server and clients over real sockets on 127.0.0.1, with keys made for the test. */
#ifndef AMEND_TESTS_NETWORK_H
#define AMEND_TESTS_NETWORK_H

#include "proto/transport.h"

/* Writes an allow list with `key` in `roles` and loads it. */
struct proto_allow *test_allow_make(const char *folder, const uint8_t key[PROTO_KEY_BYTES], unsigned roles);
/* Receives within `ms` of real time, or returns ERR_AGAIN. */
int test_receive(struct proto_transport *t, struct msg_received **out, int64_t ms);
/* Sends, trying again while ERR_AGAIN, at most `ms`. */
int test_send(struct proto_transport *t, uint64_t route, const struct msg *msg, int64_t ms);
void test_end_destroy(struct proto_transport **t);

#endif
