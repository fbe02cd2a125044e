/*
 * pusher.h
 *		What the pusher's own files share; no other room includes this.
 *
 * All of it is private memory of one pusher worker, bounded by the number of
 * entities (schedule) and by constants (what is on its way to Redis).
 */
#ifndef FE_ONLINE_PUSHER_H
#define FE_ONLINE_PUSHER_H

#include "postgres.h"
#include "definition/plan.h"
#include "definition/template.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "online/connection.h"
#include "online/online.h"
#include "state/state.h"

#define FE_PUSH_SLICE		256	/* entities evaluated in one transaction */
#define FE_DUE_SLICE		64	/* of those due by time, while fresh ones wait */
#define FE_MAX_UNITS		8192	/* updates on their way to Redis */
#define FE_MAX_UNSENT		(4 * 1024 * 1024)	/* bytes waiting for the socket */
#define FE_NEVER			PG_INT64_MAX

/* ---- schedule (schedule.c) ---------------------------------------------- */

/* Contents of an entity as last pushed: a hash of its texts, or one of these. */
#define FE_CONTENT_UNKNOWN	UINT64CONST(0)	/* must be pushed */
#define FE_CONTENT_GONE		UINT64CONST(1)	/* not in Redis */
#define FE_CONTENT_MASK		(UINT64_MAX >> 3)

typedef struct FeScheduleEntry
{
	FeRef		ref;
	uint32		serial;
	uint64		hash;
	FeTime		due;			/* FE_NEVER = on no date */
	uint64		content:61;
	uint64		retry:1;		/* failed: pushed as a change when due */
	uint64		queued:1;		/* the heap holds a date <= due */
	uint64		status:1;		/* of the hash table */
} FeScheduleEntry;

typedef struct FeSchedule FeSchedule;
typedef struct FeShown FeShown;

extern FeSchedule *fe_schedule_create(MemoryContext cxt);
/* The entity's entry; an entry of an earlier entity at the same place is reset. */
extern FeScheduleEntry *fe_schedule_get(FeSchedule *s, FeEntityRef ref, bool create);
extern void fe_schedule_remove(FeSchedule *s, FeEntityRef ref);
/* Sets entry->due. */
extern void fe_schedule_at(FeSchedule *s, FeScheduleEntry *entry, FeTime due);
/* Takes an entity that is due off; its due is FE_NEVER then. */
extern bool fe_schedule_pop(FeSchedule *s, FeTime now, FeEntityRef *ref);
/* First date, FE_NEVER = none.  May be too early, never too late. */
extern FeTime fe_schedule_next(const FeSchedule *s);

/* ---- views (views.c) ---------------------------------------------------- */

/* A feature that goes to Redis. */
typedef struct FePushColumn
{
	int			column;			/* in FePlan.columns */
	char	   *name;			/* as written to Redis: any bytes */
	int			namelen;
	FmgrInfo	out;
	struct FeFeastForm *feast;	/* of its values, in Feast's layout */
	bool		kept;			/* of a retired view: another view has this field now */
	bool		isolated;		/* has raised an error: runs by itself from now on */
	MemoryContext cxt;			/* of what follows, made when first needed */
	FeOutputProgram *prog;		/* this column alone */
	FeStateReader *reader;
} FePushColumn;

#define FE_NO_COLUMN	(-1)

typedef struct FeLayout FeLayout;

typedef struct FeRecorder FeRecorder;
struct owed_hash;

typedef struct FePushView
{
	dlist_node	node;
	int32		viewid;
	MemoryContext cxt;			/* all of it: plan, programs, this struct */
	char	   *name;			/* for messages */
	FePlan	   *plan;			/* NULL: retired, known from its footprint only */
	FeViewShared *shared;		/* NULL: no slot */
	bool		live;			/* was so when last looked at */
	bool		retired;		/* dropped or redefined: only its keys are cleaned */
	int64		footprint;		/* its row there, 0 = none */

	const FeLayout *layout;
	FeTemplate *tmpl;			/* of the plain layout: its keys */
	struct FeFeastView *feast;	/* of Feast's layout: the same */
	bool		per_window;		/* a hash for each window of an entity */
	char	   *structure;		/* equal <=> the same keys */
	char	   *pattern;		/* for SCAN */
	int			pattern_len;
	FmgrInfo   *keyout;			/* [nkeys] */
	FmgrInfo   *keyin;			/* for reading keys back */
	Oid		   *keyioparam;
	int			ncolumns;		/* that go to Redis, the first ones of columns */
	int			nall;			/* that are evaluated: of a view with a history all */
	FePushColumn *columns;
	bool		uses_time;		/* features depend on T other than through windows */
	bool		having_uses_time;	/* ... and existence too */
	char	   *own_lsn;		/* _lsn:<view>, our fence where the hash is shared */
	char	   *own_ts;			/* _ts:<view> */
	bool		marks_kept;		/* of a retired view: a view of its name has them now */
	int64		ttl;			/* ms, 0 = none */

	bool		shares;			/* other views write to the same keys */
	bool		sharer_forever; /* one of the views, this one included, has no ttl */
	int64		sharer_ttl;		/* longest ttl of the others, 0 = one has none */

	MemoryContext program_cxt;	/* of prog and reader, NULL = not made */
	FeOutputProgram *prog;		/* all columns that are not isolated */
	FeStateReader *reader;
	volatile int at_column;		/* being evaluated, or FE_NO_COLUMN: for error handling */
	FeSchedule *schedule;
	FeShown    *shown;			/* of a template with {window_start}: windows in Redis */

	/* sinks: Redis, the history, or both; which of them take part in this round */
	bool		online;			/* goes to Redis */
	FeRecorder *recorder;		/* of the history, NULL = none */
	bool		to_redis;
	bool		to_history;
	struct owed_hash *owed;		/* what Redis has not got, NULL = nothing (owed.c) */
	bool		wants_mark;		/* all entities are to be offered to the history */
	bool		behind;			/* the history has missed something */

	/* pace */
	TimestampTz next_push;		/* push_interval */
	TimestampTz retry_at;		/* Redis refused: paused till then */
	int			retry_delay;	/* ms, doubles */
	bool		filling;		/* refill under way: fenced writes */
	bool		renew_all;		/* ... which set the expiry anew */
	bool		wants_fill;
	bool		drained[FE_SINKS];	/* dirty list was seen empty in this cycle */
	int			retries;		/* entries of the schedule marked as retry */
	int			inflight;		/* units that point here */
	bool		overlap_told;	/* another database writes to the same keys: is known */
	struct FeKeyScan *scan;		/* looking for keys to delete, or NULL */
	bool		cleaned;		/* ... has been done to the end */
} FePushView;

/* ---- what is on its way (flight.c) --------------------------------------- */

typedef enum FeUnitKind
{
	FE_UNIT_CHANGE,				/* values, the source changed */
	FE_UNIT_REFILL,				/* values, of an entity that was not changed */
	FE_UNIT_TIME,				/* values, time has passed */
	FE_UNIT_GONE,				/* the entity's key or fields deleted */
	FE_UNIT_STALE,				/* a key of no entity deleted */
	FE_UNIT_SCAN,				/* SCAN */
	FE_UNIT_MARK,				/* the sentinel is set */
	FE_UNIT_CHECK				/* ... and looked at */
} FeUnitKind;

/* Commands that belong together; confirmed or failed as one. */
typedef enum FeOutcome
{
	FE_OUTCOME_OK = 0,
	FE_OUTCOME_REFUSED,			/* an error of this key */
	FE_OUTCOME_PAUSE,			/* of this view's keys */
	FE_OUTCOME_BROKEN			/* of the server */
} FeOutcome;

/* A command, or a transaction of some, that is on its way. */
typedef struct FeUnit
{
	FePushView *view;			/* NULL: of the connection */
	FeEntityRef ref;
	uint8		kind;			/* FeUnitKind */
	uint32		replies;		/* still to come */
	uint8		outcome;		/* FeOutcome of those that came */
	bool		taken;			/* off the dirty list: goes back there on failure */
} FeUnit;

/* A key that tells whether Redis still holds what was pushed (sentinel.c). */
typedef struct FeSentinel
{
	bool		set;			/* Redis has confirmed it */
	bool		asked;			/* a reply is to come */
	bool		denied;			/* has been told in the log */
	TimestampTz next;			/* when to look at it, or to set it */
} FeSentinel;

typedef struct FePusher
{
	FeDatabase *db;
	MemoryContext cxt;
	MemoryContext slice_cxt;	/* one entity */
	FeRedis    *redis;
	char	   *url_text;
	FeRedisUrl	url;
	char		run_id[64];		/* of the server that was filled */
	bool		outage;			/* has been told in the log */
	bool		connecting;		/* a connection is being set up */
	FeSentinel	sentinel;
	TimestampTz rest_until;		/* nothing goes to histories alone meanwhile */
	bool		resting;		/* in this round */
	TimestampTz reconnect_at;
	int			reconnect_delay;	/* ms */

	uint64		catalog_loads;	/* as of the last load of views */
	uint64		catalog_changes;
	bool		views_loaded;
	bool		views_pending;	/* a plan could not be loaded: try again */
	TimestampTz views_retry;
	dlist_head	views;			/* FePushView, retired ones included */

	FeUnit	   *units;			/* ring of FE_MAX_UNITS */
	uint64		queued;			/* units ever begun */
	uint64		finished;		/* units ever confirmed or failed */

	/* the drain cycles behind tickets, see tickets.c */
	uint64		cycle_ticket[FE_SINKS];
	uint64		cycle_end;		/* Redis: value of queued; valid once cycle_drained */
	bool		cycle_drained;
} FePusher;

/* footprints.c */
/* The view's footprint, found among rows or recorded; in a transaction. */
extern void fe_push_record_footprint(FePushView *view, List *rows);
/* Rows of no view become retired views, whose keys are removed. */
extern void fe_push_retire_footprints(FePusher *p, List *rows);
/* The view's ttl has been set on all of its keys. */
extern void fe_push_ttl_holds(FePusher *p, FePushView *view);
/* No key of a retired view is left: its row goes, in a transaction of its own. */
extern void fe_push_forget_footprint(FePusher *p, FePushView *view);

/* views.c */
/* UTF-8 whatever the database's encoding; a copy. */
extern char *fe_push_utf8(const char *text);
/* Brings p->views in line with the catalogue. */
extern void fe_push_load_views(FePusher *p);
/* Sets each view's slot and whether it is live. */
extern void fe_push_find_slots(FePusher *p);
/* Everything is to be pushed and stale keys to be looked for. */
extern void fe_push_begin_fill(FePusher *p, FePushView *view);
/* The history takes part: everything is offered to it, if need be. */
extern void fe_push_begin_record(FePushView *view);
extern void fe_push_free_view(FePushView *view);
/* Forgets compiled expressions; they are made anew when needed. */
extern void fe_push_drop_programs(FePushView *view);
/* Is the slot still the one that this view's plan was loaded for, and live? */
extern bool fe_push_view_ready(const FePushView *view);

/* flight.c */
extern bool fe_flight_has_room(const FePusher *p);	/* for a slice */
/* What was appended to p->redis->out, with that many replies to come; view and
 * ref may be NULL. */
extern void fe_flight_add(FePusher *p, FeUnitKind kind, int replies, FePushView *view,
						  const FeEntityRef *ref, bool taken);
/* Digests the replies that are there.  False: the connection had to be closed. */
extern bool fe_flight_collect(FePusher *p);
/* The connection is gone: what was under way is to be pushed again. */
extern void fe_flight_crash(FePusher *p);
/* The entity comes up again then; as_change: whatever its values are. */
extern void fe_push_schedule_again(FePushView *view, FeEntityRef ref, FeTime due, bool as_change);
/* Shows a message as the last error of pushing. */
extern void fe_push_note_error(FePusher *p, const char *message);

/* encode.c */

/* What an entity is to be in Redis. */
typedef struct FePushVector
{
	const char *key;
	int			keylen;
	FeTime		T;
	XLogRecPtr	lsn;
	bool		known;			/* the key is in Redis and ours, as far as we know */
	char	  **texts;			/* [ncolumns], NULL = no value */
	int		   *lens;
} FePushVector;

extern void fe_encode_settings(void);
/* A value as it stands in Redis, in CurrentMemoryContext; NULL: it has no form there,
 * *problem says why. */
extern char *fe_encode_value(const FePushView *view, FePushColumn *col, Datum value, int *len,
							 const char **problem);
/* The same of an entity's key (no NULL among keys); start: of the window that the key
 * stands for, where the template says so. */
extern char *fe_encode_key(const FePushView *view, const Datum *keys, FeTime start, int *len);
extern uint64 fe_encode_content(const FePushView *view, const FePushVector *v);
/* Append to out what sets all fields; returns the number of replies to come. */
extern int fe_encode_push(FePusher *p, const FePushView *view, FeUnitKind kind,
						   const FePushVector *v);
/* The same for deletion: one reply, or none where there is nothing to delete. */
extern int	fe_encode_gone(FePusher *p, const FePushView *view, const char *key, int keylen);
extern void fe_encode_stale(FePusher *p, const char *key, int keylen);

/* layout.c, layout_hash.c, layout_feast.c */

/*
 * How entities are written: one hash an entity in every layout; what differs are its
 * key, the names of fields and the form of values.  Commands are the same (encode.c).
 */
struct FeLayout
{
	const char *name;			/* the option's value; in footprints */

	/*
	 * Does a hash hold nothing but what our views write?  Then it goes as a whole with
	 * its entity, unless several views write to it.  Else only our fields go, and what
	 * stands beside a view's features always bears its name.
	 */
	bool		owns_hash;

	/* Sets where a view writes: by its plan, or by what keys_text() said (of a retired
	 * view: as far as its keys can be found). */
	void		(*set_keys) (FePushView *view);
	void		(*set_keys_of_text) (FePushView *view, const char *text);
	char	   *(*keys_text) (const FePushView *view);
	bool		(*same_keys) (const FePushView *a, const FePushView *b);
	/* Sets the name of a feature's field, and, with a type, how to write its values. */
	void		(*set_column) (FePushView *view, FePushColumn *col, const char *feature, Oid type);

	/* NULL: there is no such form */
	char	   *(*value) (FePushColumn *col, Datum value, int *len, const char **problem);
	char	   *(*key) (const FePushView *view, const Datum *keys, FeTime start, int *len);

	/*
	 * The way back: *parts, from which read_keys makes the entity's keys.  False, or an
	 * ERROR of an input function: the key is none that the view can have made.
	 */
	bool		(*parse_key) (const FePushView *view, const char *key, int len, void **parts);
	bool		(*read_keys) (FePushView *view, const void *parts, Datum *keys);
	/* Appends the fields that stand beside the features; NULL: only counts them. */
	int			(*marks) (StringInfo out, const FePushView *view, const FePushVector *v);
};

extern const FeLayout fe_layout_hash;
extern const FeLayout fe_layout_feast;

/* Where a view writes and by which marks: of its plan, or of what a footprint says
 * of layout and keys. */
extern void fe_layout_set_up(FePushView *view, const char *layout, const char *keys_text);
/* Do both write to the same hashes? */
extern bool fe_layout_same_keys(const FePushView *a, const FePushView *b);
/* For layouts: output and input functions of keys; a value as its type writes it, in
 * UTF-8; a position in the log as text; a key's value of its text, false: it has none. */
extern void fe_layout_output(FmgrInfo *out, Oid type, MemoryContext cxt);
extern void fe_layout_key_functions(FePushView *view);
extern char *fe_layout_text(FmgrInfo *out, Datum value, int *len);
extern const char *fe_layout_lsn(XLogRecPtr lsn);
extern bool fe_layout_key_of_text(const FePushView *view, int key, char *text, Datum *value);

typedef enum FePushReason
{
	FE_PUSH_DIRTY,				/* taken off the dirty list */
	FE_PUSH_DUE					/* the schedule says so */
} FePushReason;

/* What evaluation found. */
typedef struct FeEvaluated
{
	bool		found;			/* still in memory: keys are known */
	bool		exists;			/* at T */
	FeTime		watermark;		/* taken before the entity was looked at */
	FeTime		start;			/* of the window wanted; FE_NEVER: the newest begun */
	Datum	   *values;
	bool	   *nulls;
	FeEntityInfo info;
	FePushVector v;

	/* of a view with a history: values of all columns */
	Datum	   *features;
	bool	   *feature_nulls;
} FeEvaluated;

/* evaluate.c */
extern void fe_push_make_programs(FePushView *view);
/* At ev->v.T; where each window has a hash the entity is only looked up.  isolated: column
 * by column. */
extern void fe_push_evaluate(FePusher *p, FePushView *view, FeEntityRef ref, bool isolated,
							 FeEvaluated *ev);
/* Looks the entity up: whether it exists, and how many rows it has. */
extern void fe_push_lookup(FePushView *view, FeEntityRef ref, FeTime T, FeEvaluated *ev);
/* The texts of one of its rows, in ev->v; isolated: column by column.  False: it is no
 * row of the view (HAVING). */
extern bool fe_push_row(FePusher *p, FePushView *view, FeEntityRef ref, FeTime T, int row,
						bool isolated, FeEvaluated *ev);
/* Is it a row of the view (HAVING)? */
extern bool fe_push_is_row(FePushView *view, int row, FeTime T, FeEvaluated *ev);
extern bool fe_push_any_null(const FePlan *plan, const bool *nulls);
/* Counts a field that is left out, and shows why; col NULL: of no single one. */
extern void fe_push_note_field_error(FePusher *p, FePushView *view, const FePushColumn *col,
									 const char *why);
/* A transaction in which a view's expressions may run, as its owner. */
extern void fe_push_enter(const FePushView *view);
extern void fe_push_leave(void);

/* record.c: the history */
extern void fe_record_create(FePushView *view);
/* May the history be written to now?  False where there is none. */
extern bool fe_record_ready(const FePushView *view, TimestampTz now);
extern TimestampTz fe_record_retry_at(const FePushView *view);
extern FeTime fe_record_due(const FePushView *view);
extern void fe_record_begin_again(FePushView *view);
/* All entities are on the dirty list. */
extern void fe_record_marked(FePushView *view);
/* The dirty list is empty: all of them have been offered. */
extern void fe_record_drained(FePushView *view);
/* An entity that was taken off the dirty list could not be evaluated. */
extern void fe_record_missed(FePushView *view);
extern void fe_record_entity(FePusher *p, FePushView *view, FeEntityRef ref,
							 const FeEvaluated *ev);
extern void fe_record_window(FePusher *p, FePushView *view, FeEntityRef ref,
							 const FeEvaluated *ev, FeRange window);
extern void fe_record_windows_end(FePusher *p, FePushView *view, FeEntityRef ref,
								  const FeEvaluated *ev, const FeRange *windows, int n);
/* Rows that are offered; back to so many, after an error, for the rest is offered again. */
extern int	fe_record_offered(const FePushView *view);
extern void fe_record_take_back(FePushView *view, int offered);
/* Writes what has been offered; outside of transactions. */
extern void fe_record_write(FePusher *p, FePushView *view);
extern bool fe_record_step(FePusher *p, FePushView *view, TimestampTz now);
extern bool fe_record_settled(const FePushView *view);

/*
 * owed.c: what Redis has not got, because it was away.  The entity is on no list any
 * more; of a view that does not go to Redis nothing is owed.
 */
extern void fe_owed_add(FePushView *view, FeEntityRef ref, bool exists, bool taken, bool change);
extern bool fe_owed_any(const FePushView *view);
/* Redis is back: it is to be pushed. */
extern void fe_owed_return(FePushView *view);

/* shown.c: a hash for each window */
extern FeShown *fe_shown_create(MemoryContext cxt);
/* Brings the hashes of all windows of an entity, which has been looked up at T, up to date. */
extern void fe_push_windows(FePusher *p, FePushView *view, FeEntityRef ref, FePushReason reason,
							FeTime T, bool isolated, FeEvaluated *ev);
/* What was pushed of the entity may not be there; of all: is not known at all. */
extern void fe_shown_forget(FePushView *view, FeEntityRef ref);
extern void fe_shown_forget_all(FePushView *view);

/* slice.c */
/* Evaluates entities, and does what is to be done about them. */
extern void fe_push_refs(FePusher *p, FePushView *view, const FeEntityRef *refs, int n,
						 FePushReason reason);
/* Notes contents and the next date, where there is any reason to. */
extern void fe_push_note_schedule(FePushView *view, FeEntityRef ref, uint64 content, FeTime due);
/* T at which the entity is to be looked at again, all by itself. */
extern FeTime fe_push_next_date(const FePushView *view, const FeEvaluated *ev, FeTime T);

/* sentinel.c */
/* A connection was made; fill: everything is pushed anew. */
extern void fe_sentinel_begin(FePusher *p, bool fill);
/* Sets the key or looks at it, when it is time to. */
extern void fe_sentinel_step(FePusher *p, TimestampTz now);
/* A reply to that; error NULL = none.  True: Redis has lost what it had. */
extern bool fe_sentinel_reply(FePusher *p, FeUnitKind kind, const redisReply *reply,
							  const char *error);
/* Nothing is pushed any more: the key goes. */
extern void fe_sentinel_remove(FePusher *p);

/* secret.c */
extern void fe_secret_init(void);	/* hook on the log */

/* overlap.c */
extern void fe_overlap_init(void);	/* shared memory */
/* Tells other databases' pushers which keys are written here, and warns where
 * they write the same. */
extern void fe_overlap_publish(FePusher *p);

/* fill.c */
extern void fe_scan_start(FePushView *view);
/* Works on keys that were found, or asks for more; true = more work at once. */
extern bool fe_scan_step(FePusher *p, FePushView *view);
extern void fe_scan_reply(FePushView *view, redisReply *reply);	/* takes the reply */
/* From the beginning again; reply_lost: no reply will come for the last SCAN. */
extern void fe_scan_restart(FePushView *view, bool reply_lost);
extern void fe_scan_end(FePushView *view);
/* Everything is to be pushed again, of every view. */
extern void fe_fill_all(FePusher *p);

/* tickets.c */
extern void fe_ticket_step(FePusher *p);
extern void fe_ticket_failed(FePusher *p, FeSink sink);
extern bool fe_ticket_waiting(const FePusher *p);	/* somebody does */

#endif							/* FE_ONLINE_PUSHER_H */
