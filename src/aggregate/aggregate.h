/*
 * aggregate.h
 *		Aggregates as the engine keeps them.
 *
 * An *accumulator* is the partial state of one (argument, filter) in one
 * entity or pane; its kind says how rows enter and leave it and how two of
 * them combine.  A *final* is one SQL aggregate computed from an accumulator:
 * sum(x), avg(x) and stddev(x) share one.  Kinds and finals are tables
 * (aggregate.c); a kind is one file.
 *
 * Writers (apply, combine, clear) run in the ingest worker under the entity's
 * partition lock, exclusively, after room has been made sure of; readers'
 * read_add runs under the same lock, shared, in any process and copies what it
 * needs; read_final runs without a lock and may raise the errors that the SQL
 * aggregate raises (overflow), with the same SQLSTATE and text.
 */
#ifndef FE_AGGREGATE_H
#define FE_AGGREGATE_H

#include "fmgr.h"
#include "nodes/primnodes.h"
#include "memory/heap.h"
#include "memory/seq.h"

typedef struct FeAccKind FeAccKind;
typedef struct FeFinal FeFinal;
typedef struct FeSqlCall FeSqlCall; /* private to this room */

/* What an accumulator must do for its finals (FeFinal.flags, ORed) ... */
#define FE_ACC_SQUARES	0x01	/* also keep the sum of squares */
#define FE_ACC_DISTINCT	0x02	/* multiset: count(DISTINCT) reads it */
#define FE_ACC_COLLATED	0x04	/* multiset: its order is seen (min, max) */
#define FE_ACC_KEPT		0x10	/* what it keeps counts in fe_kept_rows; set by prepare */
/*
 * ... and what the caller may promise: an evaluation reads one accumulator
 * only (unwindowed aggregates).  count(DISTINCT) then answers at once, without
 * copying the values.
 */
#define FE_ACC_SINGLE	0x08

/* Constant arguments on which the state depends; all zeros where there are none. */
typedef struct FeAccParams
{
	double		lo;				/* histogram: bounds */
	double		hi;
	int64		n;				/* histogram: bins; exp_decay_sum: half-life, us */
} FeAccParams;

/* Everything about one accumulator that does not change. */
typedef struct FeAccSpec
{
	const FeAccKind *kind;
	uint32		flags;			/* FE_ACC_... */
	Oid			argtype;
	int16		arglen;
	bool		argbyval;
	char		argalign;
	Oid			collation;		/* input collation */
	FeAccParams params;
	FmgrInfo	cmp;			/* btree comparison of argtype, where the kind needs it */
	Size		size;			/* bytes of the accumulator, multiple of 8 */
	const FeSqlCall *folds;		/* rows may become states of this call, or NULL */
	uint8		order;			/* private to the kinds: how cmp is done, value.h */
	bool		packable;		/* private to the kinds: short varlena header */
	bool		images;			/* private to the kinds: equal values may look different */
	bool		hashed;			/* private to the kinds: only equality matters */
} FeAccSpec;

/* One row's contribution; the filter has already said yes. */
typedef struct FeAccInput
{
	Datum		value;
	bool		isnull;
	int64		order;			/* first/last: event time, us; corr: bits of x */
	bool		order_isnull;
} FeAccInput;

typedef struct FeAccRead FeAccRead; /* private to the kind; local memory */
typedef struct FeImageIn FeImageIn; /* image.h */
struct StringInfoData;

struct FeAccKind
{
	const char *name;
	bool		has_seq;		/* an accumulator begins with an FeSeq */
	bool		append_only;	/* rows cannot be taken out again */
	/* Fills spec->size (and cmp); spec's type fields are set.  In the
	 * current memory context, which lives as long as the spec. */
	void		(*prepare) (FeAccSpec *spec);

	/* An accumulator of all zero bytes is empty.  sign is +1 or -1; counts may
	 * be negative for a while (a delete that overtakes its row). */
	void		(*apply) (FeHeap *heap, const FeAccSpec *spec, void *acc,
						  const FeAccInput *in, int sign);
	/* dst += src; src is left empty, what it owned moved or freed. */
	void		(*combine) (FeHeap *heap, const FeAccSpec *spec, void *dst, void *src);
	/* Frees what hangs off; acc is all zeros afterwards. */
	void		(*clear) (FeHeap *heap, const FeAccSpec *spec, void *acc);
	/* Bytes the heap may have to give for one apply (upper bound estimate). */
	Size		(*room) (const FeAccSpec *spec, const FeAccInput *in);

	/* Reading: create once, then reset / add / final for each evaluation. */
	FeAccRead  *(*read_create) (const FeAccSpec *spec, const FeFinal *final);
	void		(*read_reset) (FeAccRead *r);
	void		(*read_add) (FeAccRead *r, const void *acc);
	/* Before read_final, where the result depends on T; else NULL. */
	void		(*read_at) (FeAccRead *r, int64 T);
	/* Result in CurrentMemoryContext. */
	Datum		(*read_final) (FeAccRead *r, bool *isnull);

	/*
	 * Of kinds whose rows may be folded into a state of the aggregate's own
	 * (FeAccSpec.folds), else NULL.  fold runs as the view's owner, without a lock,
	 * in the ingest worker, and may raise errors: what is to take the place of all
	 * that r was given, or NULL where nothing is to be gained.  replace puts it
	 * there: under the lock, after room has been made sure of.
	 */
	struct varlena *(*fold) (FeAccRead *r);
	void		(*replace) (FeHeap *heap, const FeAccSpec *spec, void *acc,
							struct varlena *folded);

	/*
	 * The byte form (image.h).  image_write runs under the entity's lock in any
	 * process.  image_read makes an accumulator of zeros what was written; heap
	 * NULL: it checks that this can be done, adds up in->room, and acc is not
	 * looked at.  With a heap it has been checked, and must not fail.
	 */
	void		(*image_write) (const FeAccSpec *spec, const void *acc,
								struct StringInfoData *out);
	void		(*image_read) (FeHeap *heap, const FeAccSpec *spec, void *acc, FeImageIn *in);
};

/*
 * Rows of arguments that accumulators of kind "values" keep, of all that this
 * process writes: its changes tell what the one at hand has more or less.
 */
extern int64 fe_kept_rows;
/* An accumulator has become worth folding since this was last reset. */
extern bool fe_fold_is_due;
#define FE_FOLD_ROWS	64		/* and from how many rows on it is */

/* An SQL aggregate over a kind. */
struct FeFinal
{
	const char *name;			/* sum, avg, count_distinct, ... */
	int			id;				/* private to the kinds */
	uint32		flags;			/* FE_ACC_... it needs */
	const FeSqlCall *call;		/* computed by PostgreSQL's own aggregate, or NULL */
	/* constant arguments on which the result depends, but not the state */
	double		number;			/* approx_percentile: the fraction */
	int			limit;			/* first_n and its kin: elements */
	const Aggref *source;		/* the call, where it has constant arguments */
	bool		uses_time;		/* the result depends on T itself */
};

/*
 * Of a final with a call: read_final runs the aggregate, and must do so as the
 * view's owner.  Does the call run code of users?
 */
extern bool fe_final_runs_code(const FeFinal *final);
/* The call over the source row, without FILTER, for showing it; or NULL. */
extern const Aggref *fe_final_source(const FeFinal *final);

/* What fe_aggregate_match found. */
typedef struct FeAggMatch
{
	bool		rows;			/* count(*): no accumulator, the row count */
	const FeAccKind *kind;
	const FeFinal *final;
	Oid			argtype;		/* of the first argument (after the parser's casts) */
	Oid			collation;
	bool		has_order;		/* a second argument of eight bytes: event time, x */
	Node	   *arg;			/* what is kept of a row, NULL: the first argument */
	const FeSqlCall *folds;		/* see FeAccSpec */
	bool		until_now;		/* and only rows up to T count (exp_decay_sum) */
	FeAccParams params;
} FeAggMatch;

/* Why an aggregate is refused; strings are translated, may be NULL. */
typedef struct FeAggRefusal
{
	int			sqlstate;
	char	   *message;
	char	   *detail;
	char	   *hint;
	int			location;		/* of the argument in question; 0: the call's */
} FeAggRefusal;

/*
 * Finds kind and final for an analysed aggregate call (its filter, and the
 * event-time argument, are the caller's business).  False = refused.  append_only:
 * rows never leave, but with their pane.
 */
extern bool fe_aggregate_match(const Aggref *agg, bool append_only, FeAggMatch *match,
							   FeAggRefusal *why);
/* Do accumulators of two calls, or of none (NULL), hold the same states? */
extern bool fe_same_folds(const FeSqlCall *a, const FeSqlCall *b);
/* The final with which a reader of this accumulator is made that folds. */
extern const FeFinal *fe_fold_final(const FeAccSpec *spec);

/*
 * Match of a column whose value all rows of an entity have in common, of any
 * type: no SQL aggregate, but kept and read like one.
 */
extern void fe_aggregate_match_current(Oid type, FeAggMatch *match);
/* Is a final that of such a column? */
extern bool fe_final_is_current(const FeFinal *final);

/*
 * Could all aggregates over an accumulator of kind wanted be computed from one
 * of another kind, of the same rows?  flags: what they need of it.
 */
typedef enum FeAccSharing
{
	FE_SHARE_NOTHING,
	FE_SHARE_ARGUMENT,			/* if the other one's argument is the same */
	FE_SHARE_ORDER				/* if the other one's event time is the argument */
} FeAccSharing;

extern FeAccSharing fe_acc_sharing(const FeAggMatch *wanted, uint32 flags,
								   const FeAggMatch *other);

/* Builds the spec of a match in CurrentMemoryContext. */
extern FeAccSpec *fe_acc_spec_create(const FeAggMatch *match, uint32 flags);

/*
 * The values of a multiset with their counts, which are not 0; for the process
 * that changes it, and till it does.
 */
extern void fe_multiset_iter(FeSeqIter *it, const void *acc);
extern bool fe_multiset_next(FeSeqIter *it, const FeAccSpec *spec, Datum *value, int64 *count);

/* For explain_feature_view: 'specialised' text, retraction, bytes.  stream: of changes. */
extern const char *fe_acc_kind_describe(const FeAccSpec *spec, bool stream);

#endif							/* FE_AGGREGATE_H */
