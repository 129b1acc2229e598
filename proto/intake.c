/* intake.c: rights, decoding and counting of what arrives. */
#include "proto/intake.h"

#include "base/log.h"

#include <string.h>

#define RATE_WINDOW_MS 10000
#define RATE_LINES_MAX 5

bool proto__rate_take(struct proto__rate *rate, int64_t now_ms, uint64_t *suppressed)
{
	if (rate->taken == 0 || now_ms - rate->since_ms >= RATE_WINDOW_MS) {
		rate->since_ms = now_ms;
		rate->taken = 0;
	}
	if (rate->taken >= RATE_LINES_MAX) {
		rate->suppressed++;
		return false;
	}
	rate->taken++;
	*suppressed = rate->suppressed;
	rate->suppressed = 0;
	return true;
}

static void dropped(struct proto__intake *in, const struct proto__parcel *parcel, int type, const char *why)
{
	uint64_t suppressed;
	if (!proto__rate_take(&in->rate, env_monotonic_ms(in->env), &suppressed))
		return;
	log_event(LOG_WARN, "PROTO-MESSAGE-DROPPED",
		  LOGF_X("peer", parcel->key, parcel->key == NULL ? 0 : PROTO_KEY_BYTES),
		  LOGF_S("type", msg_type_name(type)), LOGF_U("bytes", parcel->head_len + parcel->bulk_len),
		  LOGF_S("why", why), LOGF_U("suppressed", suppressed));
}

static int decode(struct proto__intake *in, const struct proto__parcel *parcel, int type, struct msg_received **out)
{
	struct err err = ERR_INIT;
	int rc = proto_decode(parcel->head, parcel->head_len, parcel->bulk, parcel->bulk_len, out, &err);
	if (rc != 0) {
		in->counts->undecodable++;
		dropped(in, parcel, type, err.text);
		return rc;
	}
	in->counts->received++;
	(*out)->route = parcel->route;
	(*out)->roles = parcel->roles;
	if (parcel->key != NULL)
		memcpy((*out)->peer_key, parcel->key, PROTO_KEY_BYTES);
	return 0;
}

static int peek(struct proto__intake *in, const struct proto__parcel *parcel, int *type, uint64_t *request_id,
		uint64_t *trace_id)
{
	int rc = 0;
	*type = 0;
	if (parcel->frame_count < 1 || parcel->frame_count > PROTO__FRAMES_MAX)
		rc = ERR_LIMIT;
	else
		rc = proto_peek(parcel->head, parcel->head_len, type, request_id, trace_id);
	if (rc == 0)
		return 0;
	in->counts->undecodable++;
	dropped(in, parcel, *type, rc == ERR_LIMIT ? "wrong number of frames" : "no Amend message");
	return rc;
}

static const char no_right[] =
	"the roles of your key do not allow this message; an administrator can change them (`amend key allow`)";
#define SPELL(n)  #n
#define NUMBER(n) SPELL(n)
static const char other_version[] = "this coordinator speaks protocol version " NUMBER(
	MSG_PROTOCOL_VERSION) ", and your program another one: update the older of the two";

static int version_check(struct proto__intake *in, const struct proto__parcel *parcel, int type)
{
	struct err err = ERR_INIT;
	int rc = proto_version_check(parcel->head, parcel->head_len, &err);
	if (rc != 0) {
		in->counts->undecodable++;
		dropped(in, parcel, type, err.text);
	}
	return rc;
}

int proto__intake_server(struct proto__intake *in, const struct proto__parcel *parcel, struct msg_received **out,
			 struct msg *denial)
{
	*denial = (struct msg){ .type = 0 };
	if (parcel->key == NULL || parcel->roles == 0) {
		in->counts->unauthenticated++;
		dropped(in, parcel, 0, parcel->key == NULL ? "no proven key" : "the key is not on the allow list");
		return ERR_CLOSED;
	}
	int type;
	uint64_t request_id, trace_id;
	int rc = peek(in, parcel, &type, &request_id, &trace_id);
	if (rc != 0)
		return rc;
	rc = version_check(in, parcel, type); /* types may mean something else there */
	if (rc == 0 && proto_right(parcel->roles, type))
		return decode(in, parcel, type, out);
	*denial = (struct msg){ .type = MSG_ERROR, .request_id = request_id, .trace_id = trace_id };
	if (rc != 0) {
		denial->u.error = (struct msg_error){ rc, { other_version, sizeof(other_version) - 1 } };
		return rc;
	}
	in->counts->forbidden++;
	dropped(in, parcel, type, "the roles of this key do not allow it");
	denial->u.error = (struct msg_error){ ERR_DENIED, { no_right, sizeof(no_right) - 1 } };
	return ERR_DENIED;
}

int proto__intake_client(struct proto__intake *in, const struct proto__parcel *parcel, bool hint,
			 struct msg_received **out)
{
	int type;
	uint64_t request_id, trace_id;
	int rc = peek(in, parcel, &type, &request_id, &trace_id);
	if (rc != 0)
		return rc;
	rc = version_check(in, parcel, type);
	if (rc != 0)
		return rc;
	if (hint == (type == MSG_HINT))
		return decode(in, parcel, type, out);
	in->counts->forbidden++;
	dropped(in, parcel, type,
		hint ? "only hints may come this way" : "a hint that did not come by the hint endpoint");
	return ERR_DENIED;
}
