/*
 * plan.h
 *		A checked feature plan: what a feature view's SQL means to the engine.
 *
 * Compiled from the stored definition (a real view in feature_engine_def).
 * Three parts: the *row program* (expressions over one source row: condition,
 * keys, event times, arguments, filters), the *state layout* (tracks of panes,
 * accumulators), and the *output program* (expressions over keys and
 * aggregate results, at T).  Plain local memory; never shared.
 */
#ifndef FE_PLAN_H
#define FE_PLAN_H

#include "postgres.h"
#include "access/tupdesc.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "nodes/pg_list.h"
#include "utils/timestamp.h"
#include "aggregate/aggregate.h"
#include "runtime/runtime.h"
#include "window/window.h"

#define FE_MAX_TRACKS	8		/* distinct event-time expressions of a view */
#define FE_MAX_KEYS		16
#define FE_ROWS			(-1)	/* FeAgg.acc of count(*): rows of pane/entity */
#define FE_WINDOW		(-2)	/* FeAgg.acc of the row's window of GROUP BY */
#define FE_NO_EXPR		(-1)
#define FE_LIFETIME		(-1)	/* FeAcc.track */

/* What a row of an arm is. */
typedef enum FeRowForm
{
	FE_FORM_TABLE,				/* a row of its table */
	FE_FORM_JOINED,				/* with the rows that are looked up for it */
	FE_FORM_DIMENSION,			/* rows that are looked up: contribute nothing themselves */
	FE_FORM_PART,				/* of a part of a joined view */
	FE_FORM_CHANGES				/* a change of a row of its table (changes.c) */
} FeRowForm;

/*
 * Attribute numbers of a change row: what is told of the change, then of each
 * column of the table its value before and after it.
 */
#define FE_CHANGE_OP			1	/* text: c, u, d, r */
#define FE_CHANGE_COMMITTED_AT	2	/* timestamptz, NULL for r */
#define FE_CHANGE_LSN			3	/* pg_lsn */
#define FE_CHANGE_BEFORE_AT		4	/* timestamptz */
#define FE_CHANGE_FIXED			4
#define FE_CHANGE_BEFORE(attnum)	(FE_CHANGE_FIXED + 2 * (attnum) - 1)
#define FE_CHANGE_AFTER(attnum)		(FE_CHANGE_FIXED + 2 * (attnum))

/*
 * One of the inputs of a view.  Row expressions have the same number, meaning
 * and types in every arm; each arm has its own text of them, over its own rows.
 */
typedef struct FeArm
{
	Oid			source;			/* table */
	FeRowForm	form;
	List	   *rowexprs;		/* Expr *, Vars: varno 1 = the arm's row */
	int			where;			/* boolean row expression, FE_NO_EXPR */
	Bitmapset  *source_attrs;	/* attribute numbers of the table needed (plain, >= 1) */

	/* FE_FORM_CHANGES */
	int			location;		/* of the call in the query, for errors at creation */
	Bitmapset  *before_attrs;	/* source_attrs, needed of the row before ... */
	Bitmapset  *after_attrs;	/* ... and after the change */
	bool		uses_lsn;
	bool		uses_before_at;
	Bitmapset  *key_attrs;		/* then: the table's primary key, among both of them */
} FeArm;

/*
 * Joins.  Arm 0 of a joined view is the *fact* table, whose rows are aggregated;
 * each other arm is a *dimension*, of which the row with a given key is added.
 * Expressions are over the *joined row*: the columns in use of all of them.
 *
 * So that a change of a dimension's row corrects what it touched, both are kept
 * in state, in *parts* with plans of their own: a dimension's rows by their key,
 * and the fact table's rows by the same key.
 */
#define FE_MAX_DIMENSIONS	7

typedef struct FeJoinColumn
{
	int			arm;
	AttrNumber	attnum;
} FeJoinColumn;

/* A column of a dimension's key. */
typedef struct FeJoinKey
{
	AttrNumber	attnum;
	int			column;			/* of the joined row: it is equal to this one */
	Oid			op;				/* the equality */
	Oid			type;			/* whose default equality it is; int8 for all integers */
	Oid			collation;
	Oid			dim_type;		/* the columns' own types, domains aside */
	Oid			fact_type;
} FeJoinKey;

typedef struct FeDimension
{
	bool		outer;			/* LEFT JOIN: NULLs where there is no row */
	Oid			index;			/* unique; InvalidOid: it is gone */
	int			nkeys;
	FeJoinKey  *keys;
	int			first;			/* its columns in the joined row */
	int			ncolumns;
	int			nkept;			/* columns of the joined row that are kept of a fact row */
	int		   *kept;
} FeDimension;

typedef struct FeJoin
{
	Oid		   *relids;			/* by arm */
	int			ncolumns;		/* of the joined row, the fact table's first */
	FeJoinColumn *columns;
	int			ndims;
	FeDimension *dims;			/* that of arm n is n - 1 */
	int			time_column;	/* what WHERE's windows are over, if it is the fact table's, or -1 */
	int			nparts;
	struct FePlan **parts;
} FeJoin;

/* Parts of a join: of the dimension with this number. */
#define FE_PART_ROWS(d)		(2 * (d))
#define FE_PART_FACTS(d)	(2 * (d) + 1)
#define FE_JOIN_PARTS		(2 * FE_MAX_DIMENSIONS)

/* Parts have ids that no view has. */
static inline int32
fe_part_id(int32 viewid, int part)
{
	return -(viewid * (FE_JOIN_PARTS + 2) + part) - 1;
}

/* The view that a part, or a view, belongs to. */
static inline int32
fe_view_of_part(int32 id)
{
	return id >= 0 ? id : -(id + 1) / (FE_JOIN_PARTS + 2);
}

typedef struct FeKey
{
	char	   *name;			/* output column */
	int			column;			/* index in FePlan.columns */
	int			expr;			/* row expression */
	Oid			type;
	int32		typmod;
	Oid			collation;
	int16		typlen;
	bool		typbyval;
	char		typalign;
	Oid			eqop;			/* of the grouping clause */
	FmgrInfo	eq;
	FmgrInfo	hash;			/* extended (64-bit) hash function */
	bool		bitwise;		/* equal <=> same bytes: no function call */
} FeKey;

/* Event times of one expression; its windows and panes. */
typedef struct FeTrack
{
	int			expr;			/* row expression: timestamptz, timestamp or date */
	Oid			type;
	FeGrid		grid;			/* windows indexed by FePlan window number via map */
	FeWindowSet windows;		/* plan windows that belong to this track */
	int			naccs;
	int		   *accs;			/* indexes in FePlan.accs */
	Size		pane_size;		/* 16 bytes of header + accumulators */
} FeTrack;

typedef struct FeAcc
{
	FeAccSpec  *spec;
	int			track;			/* FE_LIFETIME or a track */
	Size		offset;			/* from the first accumulator of the pane (its
								 * header comes before) / of the lifetime block */
	int			arg;			/* row expression, FE_NO_EXPR */
	int			order;			/* row expression of first/last's event time */
	Oid			order_type;
	int			filter;			/* row expression (boolean), FE_NO_EXPR */
} FeAcc;

/* One aggregate result that the output program reads. */
typedef struct FeAgg
{
	int			acc;			/* FE_ROWS: count(*) without a row filter; FE_WINDOW */
	int			track;			/* FE_LIFETIME or a track */
	FeWindowSet windows;		/* ANDed, plan window numbers; 0 = lifetime */
	const FeFinal *final;		/* NULL for FE_ROWS and FE_WINDOW */
	bool		of_order;		/* its argument is the event time of acc */
	Oid			type;
	int32		typmod;
	Oid			collation;
	int16		typlen;
	bool		typbyval;
} FeAgg;

/* An output column. */
typedef struct FeColumn
{
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
	int			key;			/* index in keys, -1 = a feature */
	Expr	   *expr;			/* Vars: varno 1, attno 1..nkeys keys, then aggs */
	Bitmapset  *aggs;			/* aggregates it reads */
	bool		uses_time;		/* depends on T other than through windows */
	bool		online;			/* goes to Redis */
} FeColumn;

/* What an error in a row's expressions does. */
typedef enum FeOnError
{
	FE_ON_ERROR_STOP,			/* the view stops, and is rebuilt after a pause */
	FE_ON_ERROR_SKIP			/* the row image does not contribute */
} FeOnError;

/* How an entity is written to Redis. */
typedef enum FeRedisLayout
{
	FE_LAYOUT_HASH,				/* fields by name, values as text */
	FE_LAYOUT_FEAST				/* what Feast's client reads */
} FeRedisLayout;

typedef struct FeViewOptions
{
	char	   *redis_key;		/* template, NULL = default */
	FeRedisLayout redis_layout;
	char	   *feast_project;	/* NULL unless the layout is Feast's */
	int64		ttl;			/* us, 0 = none */
	int			push_interval;	/* ms, -1 = the setting */
	int			time_refresh;	/* s, -1 = the setting */
	bool		append_only;
	FeOnError	on_error;
	bool		snapshot;		/* changes(): begin with the rows that are there */
	int64		retention;		/* us, how long windows are shown; 0 = for ever */
	int64		watermark;		/* us behind the highest event time, -1 = none */
	List	   *online;			/* column names, NIL = all features */
	bool		online_enabled; /* false: online => '{}' */
	bool		offline;		/* what is pushed is recorded in the history table */
	int64		history_interval;	/* us, at most one row for each; 0 = every change */
	int64		history_retention;	/* us, how long rows are kept; 0 = for ever */
} FeViewOptions;

typedef struct FePlan
{
	MemoryContext cxt;
	int32		viewid;			/* primary key of the catalogue */
	int32		generation;		/* changes when it is to begin anew */
	int32		version;		/* changes with every new definition or options */
	int32		state_version;	/* changes when state must be rebuilt */
	char	   *name;
	Oid			owner;
	Oid			defview;		/* the stored view */
	Oid			relation;		/* foreign table users read, InvalidOid while pending */
	Oid			history;		/* its table, see history.h; may be gone */

	/*
	 * Not 0: a new definition that is being built beside the view of this id.
	 * It is found by id only, is not pushed, and takes the other's place when
	 * the ingest worker calls fe_definition_swap.
	 */
	int32		replaces;
	FeViewOptions options;

	/* row program: what is read, and what is computed of each row */
	int			narms;
	FeArm	   *arms;
	TupleDesc	row_desc;		/* of the row that the arms have in common, or the
								 * joined row; NULL: the single arm's own */
	FeJoin	   *join;			/* NULL: no joins */
	List	   *rowexprs;		/* Expr *, Vars: varno 1 = the common row; of
								 * numbers, types and for messages */
	int			where;			/* boolean row expression, FE_NO_EXPR */

	int			nkeys;
	FeKey	   *keys;
	int			nwindows;
	FeWindow   *windows;
	int		   *window_bit;		/* plan window -> bit in its track's grid */
	int		   *window_track;
	int			ntracks;
	FeTrack    *tracks;
	/*
	 * WHERE windows (ANDed): the entity exists while they hold a row.  A window of
	 * GROUP BY is one of them: all aggregates are in it, and the reader takes its
	 * panes apart again, a row for each window.
	 */
	int			where_track;	/* FE_LIFETIME: no window in WHERE or GROUP BY */
	FeWindowSet where_windows;
	int			group_window;	/* in windows; -1: none in GROUP BY */
	int			window_column;	/* output column that shows it */
	bool		null_window;	/* rows without a window make a group, too */
	bool		uses_final;		/* some output asks is_final() */

	int			naccs;
	FeAcc	   *accs;
	Size		lifetime_size;	/* block of lifetime accumulators */
	int			nlifetime;
	int		   *lifetime_accs;

	/* output program; of several rows an entity where there is group_window */
	int			naggs;
	FeAgg	   *aggs;
	int			ncolumns;
	FeColumn   *columns;
	Expr	   *having;			/* over keys and aggs, NULL = none */
	Bitmapset  *having_aggs;
	TupleDesc	input_desc;		/* keys then aggs: what the output program reads */
	TupleDesc	output_desc;
} FePlan;

/*
 * Is the view over the stream of changes?  Then rows are only ever added, and its
 * state cannot be built anew from a table.
 */
static inline bool
fe_plan_is_stream(const FePlan *plan)
{
	return plan->arms[0].form == FE_FORM_CHANGES;
}

/* Do its rows only come, so that what is late can be left out? */
static inline bool
fe_plan_only_adds(const FePlan *plan)
{
	return plan->options.append_only || fe_plan_is_stream(plan);
}

/* ---- compile (plan.c) ------------------------------------------------- */

/* Fresh plan of a stored view, in its own child context of parent; NULL when
 * the view does not exist (any more). */
extern FePlan *fe_plan_load(int32 viewid, MemoryContext parent);
/* Cached per process; stays valid until the end of the transaction at least.
 * NULL / ERROR when there is none. */
extern FePlan *fe_plan_by_id(int32 viewid, bool missing_ok);
extern FePlan *fe_plan_by_name(const char *name, bool missing_ok);
extern FePlan *fe_plan_by_relation(Oid relation, bool missing_ok);
/* Ids of all views of this database (by the catalogue, this snapshot), and
 * whether the extension is there at all. */
extern List *fe_plan_list(bool *extension_installed);	/* list of int */
/* Those of them that the current transaction has written, and not committed yet. */
extern List *fe_plan_list_uncommitted(void);
/* Microseconds of an interval; false: it has months or is out of range. */
extern bool fe_interval_usecs(const Interval *interval, int64 *usecs);
/* Of argument n, an interval; ERROR: months, or not within these bounds. */
extern int64 fe_interval_argument(FunctionCallInfo fcinfo, int n, const char *name, int64 min,
								  int64 max);
/* As an interval literal of days and a time. */
extern char *fe_format_usecs(int64 usecs);
/* Called when the catalogue may have changed (relcache invalidation of the
 * catalogue table, or its appearance): a counter that workers compare. */
extern uint64 fe_catalog_change_count(void);

/* Do the results of some of these aggregates depend on T, other than through windows? */
extern bool fe_plan_aggs_use_time(const FePlan *plan, const Bitmapset *aggs);

/* ---- whose rights count (rights.c) ------------------------------------- */

/* May the view's owner (still) read the table, all rows of it? */
extern bool fe_plan_owner_may_read(const FePlan *plan);
/* The same as an ERROR. */
extern void fe_plan_check_owner(const FePlan *plan);
/* ERROR unless the current user may read the view. */
extern void fe_plan_check_select(const FePlan *plan);

typedef struct FeOwnerContext
{
	Oid			userid;
	int			sec;
	int			nestlevel;
} FeOwnerContext;

/*
 * Evaluation as the owner, in a security-restricted context.  runs_code:
 * expressions call functions of users, or such that depend on settings: under a
 * search_path that neither reader nor other owners choose, with settings that
 * are everywhere the same, and those that they change are set back.  An ERROR
 * leaves by itself, with its (sub)transaction.
 */
extern void fe_owner_enter(FeOwnerContext *c, const FePlan *plan, bool runs_code);
extern void fe_owner_leave(const FeOwnerContext *c);
/* The settings that expressions run under: in this process for good, or until the
 * caller's GUC nest level ends. */
extern void fe_settings_fix(bool for_good);
/* May the current user see messages about views of this owner, which may hold
 * values?  InvalidOid: about all views. */
extern bool fe_may_see_errors(Oid owner);
/* The owner of a view of the catalogue, or InvalidOid. */
extern Oid	fe_owner_of_view(int32 viewid);

/*
 * Ingest worker, inside its transaction: a pending definition is live and
 * takes the place of the one it replaces (whose id is gone after commit).
 * False: someone is using the relation, whose columns change; try again later.
 */
extern bool fe_definition_swap(int32 viewid);

/* ---- partitions.c ------------------------------------------------------ */

/* A table below a partitioned one, at any depth. */
typedef struct FePartition
{
	Oid			relid;
	TransactionId attached;		/* the (sub)transaction that made it one */
	uint32		detaching;		/* 1: DETACH CONCURRENTLY has begun, and not ended */
} FePartition;

typedef struct FePartitions
{
	int			n;
	int			max;
	FePartition *items;			/* sorted */
} FePartitions;

typedef enum FePartitionsChange
{
	FE_PARTITIONS_SAME,
	FE_PARTITIONS_GREW,			/* by such that were created empty, as partitions */
	FE_PARTITIONS_OTHERS		/* rows may have come or gone that the log does not tell of */
} FePartitionsChange;

extern bool fe_is_partitioned(Oid relid);
extern bool fe_plan_reads_partitions(const FePlan *plan);
/*
 * Why the log does not tell of a partition's changes, without capital and full
 * stop; NULL: it does.  *full: old rows are in it (source.c).
 */
extern char *fe_partition_problem(Oid relid, bool *full);
/*
 * Of all arms of a plan; look_at, unless NULL, is called for each partitioned
 * table before what is below it is read.
 */
extern FePartitions *fe_partitions_of_plan(const FePlan *plan, void (*look_at) (Oid relid));
/* Appends those of one table; nothing when it is not partitioned. */
extern void fe_partitions_add(FePartitions *list, Oid root, void (*look_at) (Oid relid));
/* From one list to a later one. */
extern FePartitionsChange fe_partitions_compare(const FePartitions *old,
												const FePartitions *new);
/*
 * Is one being detached?  Its rows do not count any more, but transactions that
 * began before may still bring some, which the log says are the table's.
 */
extern bool fe_partitions_in_between(const FePartitions *list);
extern uint64 fe_partitions_hash(const FePartitions *list); /* 0: there are none */
extern bytea *fe_partitions_encode(const FePartitions *list);
extern FePartitions *fe_partitions_decode(const bytea *data);
/* Changes of this relation count in fe_catalog_change_count() from now on. */
extern void fe_catalog_watch(Oid relid);

/*
 * Places for views that are taken in the server, and by this database: state has them, and
 * sets this.  (A view with joins takes one for each part, too.)
 */
typedef struct FePlaces
{
	int			all;
	int			ours;
} FePlaces;

extern FePlaces (*fe_plan_places) (void);

/* ---- run (program.c) -------------------------------------------------- */

/*
 * Describes the rows that an arm's expressions are over, in CurrentMemoryContext;
 * NULL: its table does not exist (any more).
 */
extern TupleDesc fe_arm_row_desc(const FeArm *arm);

static inline bool
fe_plan_uses_before_at(const FePlan *plan)
{
	for (int i = 0; i < plan->narms; i++)
		if (plan->arms[i].uses_before_at)
			return true;
	return false;
}

typedef struct FeRowProgram FeRowProgram;

extern FeRowProgram *fe_row_program_create(FePlan *plan, int arm, MemoryContext cxt);
extern bool fe_row_program_runs_code(const FeRowProgram *prog);
typedef enum FeRowResult
{
	FE_ROW_OUT,					/* WHERE is not true, at no T */
	FE_ROW_EXPIRED,				/* older than what the windows in WHERE need */
	FE_ROW_IN
} FeRowResult;

/*
 * Evaluates all row expressions for a row of the arm (arrays by attribute number
 * of fe_arm_row_desc() - 1; only source_attrs are looked at).  Results of reference types live in
 * CurrentMemoryContext or point into the row; there are none unless the row is
 * in the view.  cutoffs [ntracks]: the view's, which only move forward; what
 * belongs to older times is not evaluated, so apply must leave it out, too.
 * (Where errors are skipped it is: whether a row raises one must not change
 * with its age.)
 */
extern FeRowResult fe_row_program_eval(FeRowProgram *prog, const Datum *row,
									   const bool *rownulls, pg_atomic_uint64 *cutoffs,
									   Datum *values, bool *nulls);
/* Hash of the keys among the evaluated row expressions. */
extern uint64 fe_key_hash(const FePlan *plan, const Datum *values, const bool *nulls);
/* The same for plain key arrays [nkeys]. */
extern uint64 fe_key_hash_keys(const FePlan *plan, const Datum *keys, const bool *nulls);

/* Where a row's event stands in a track; PG_INT64_MIN: nowhere, at no T. */
extern int64 fe_track_time(const FePlan *plan, int track, const Datum *values, const bool *nulls);
/* The value of a window of GROUP BY: a range of timestamptz. */
extern Datum fe_window_datum(FeRange window);
/* The reverse; lo = PG_INT64_MAX: it is none of ours. */
extern FeRange fe_window_of_datum(Datum value);
/* Event time as us (timestamp and date read as UTC). */
extern int64 fe_event_time(Datum value, Oid type);

typedef struct FeOutputProgram FeOutputProgram;

/* columns: 0-based column numbers wanted, NULL = all. */
extern FeOutputProgram *fe_output_program_create(FePlan *plan, const Bitmapset *columns,
												 MemoryContext cxt);
extern bool fe_output_program_runs_code(const FeOutputProgram *prog);
/* Aggregates (0-based) that must be filled in for these columns and HAVING. */
extern Bitmapset *fe_output_program_aggs(FeOutputProgram *prog);
/* Gives the input row: keys then aggregates [nkeys + naggs]; T of evaluation. */
extern void fe_output_program_input(FeOutputProgram *prog, const Datum *values,
									const bool *nulls, FeTime T);
/* The watermark at which is_final() judges, from now on. */
extern void fe_output_program_watermark(FeOutputProgram *prog, FeTime watermark);
/* HAVING (true where there is none). */
extern bool fe_output_program_having(FeOutputProgram *prog);
extern Datum fe_output_program_column(FeOutputProgram *prog, int column, bool *isnull);
/* Frees what evaluations allocated; call between rows. */
extern void fe_output_program_reset(FeOutputProgram *prog);

#endif							/* FE_PLAN_H */
