/*
 * definition.h
 *		What the definition room's own files share; no other room includes this.
 *
 * A definition goes through four steps: parse (create.c), flatten (flatten.c:
 * one query over one row, whatever was nested, and the arms that this row comes
 * from), analyse (analyze.c,
 * windows.c, outputs.c: the plan), store (create.c, catalog.c).  The plan of a
 * stored view is compiled by the same steps from the view's rule (plan.c).
 */
#ifndef FE_DEFINITION_H
#define FE_DEFINITION_H

#include "definition/plan.h"
#include "nodes/parsenodes.h"

/* What is being analysed, for error positions and look-ups. */
typedef struct FeAnalysis
{
	const char *text;			/* the user's query, NULL for a stored view */
	Node	   *raw;			/* its raw parse tree, NULL likewise */
	Oid			schema;			/* of the extension: rolling() and its kin */
	bool		check;			/* creation: also check the source table */
	bool		append_only;
	bool		stream;			/* set by flattening: over changes(), whose rows stay; then
								 * append_only is set, too ... */
	bool		any_log;		/* ... and this, if the user has */
	bool		joined;			/* set by flattening: tables are joined, so append_only is no
								 * way out and no hint offers it */
	Oid			user;			/* whose rights count, InvalidOid = the current user */
} FeAnalysis;

/* ---- refuse.c: positions, mutable functions ----------------------------- */

extern void fe_analysis_init(FeAnalysis *a, const char *text, Node *raw);
/* For use inside ereport: position of a parse location in the user's query. */
extern int	fe_errposition(const FeAnalysis *a, int location);
/* Location of the nth mention of a relation in the FROM clauses, or -1. */
extern int	fe_relation_location(const FeAnalysis *a, Oid relid, int nth);
/* Is it the extension's function of that name? */
extern bool fe_is_own_function(const FeAnalysis *a, Oid funcid, const char *name);
extern bool fe_contains_now(const FeAnalysis *a, Node *node, int *location);
extern bool fe_contains_final(const FeAnalysis *a, Node *node);
/* First call of rolling() or tumbling() in an expression. */
extern FuncExpr *fe_find_window_call(const FeAnalysis *a, Node *node);
/* Refuses what cannot be evaluated per row; what: "the WHERE clause", ... */
extern void fe_refuse_mutable(const FeAnalysis *a, Node *node, const char *what,
							  bool now_allowed);
/* A function that an expression or query calls and the role may not, or InvalidOid. */
extern Oid	fe_find_forbidden(Node *node, Oid role);

/* ---- rights.c ------------------------------------------------------------- */

/* Does it call anything but PostgreSQL's own immutable functions and ours? */
extern bool fe_runs_user_code(Node *expr);

/* ---- flatten.c ------------------------------------------------------------ */

typedef struct FeFlatKey
{
	Node	   *expr;			/* over the source row */
	Oid			eqop;
} FeFlatKey;

typedef struct FeFlatTarget
{
	char	   *name;
	Node	   *expr;			/* over source row and Aggrefs */
} FeFlatTarget;

/* One of the inputs that the row of a definition comes from. */
typedef struct FeFlatArm
{
	Oid			source;
	FeRowForm	form;
	int			location;		/* of changes() in the query */
	List	   *where;			/* Node *, ANDed; over the arm's row */
	List	   *columns;		/* Node *, the row's columns over the arm's row; NIL: it is
								 * the arm's row */
} FeFlatArm;

/*
 * A definition as one query over one row; Vars: varno 1 = that row, or in an
 * arm's expressions the arm's.
 */
typedef struct FeFlat
{
	List	   *arms;			/* FeFlatArm * */
	TupleDesc	row_desc;		/* NULL: the row is that of the single arm */
	FeJoin	   *join;			/* NULL: none; else arms 1.. are dimensions */
	List	   *where;			/* Node *, ANDed */
	List	   *keys;			/* FeFlatKey * */
	FeFlatKey  *window;			/* taken out of keys: tumble(), hop() or session() */
	List	   *targets;		/* FeFlatTarget * */
	List	   *having;			/* Node *, ANDed; over source row and Aggrefs */

	/*
	 * No GROUP BY: the keys are those of the table's primary key, and the
	 * definition is stored as the grouped query that means the same.
	 */
	bool		current;

	/*
	 * The keys determine the value of other columns (a primary key is among
	 * them), which may stand outside of aggregates.
	 */
	bool		determined;
	bool		joined_key;		/* they would, if tables were not joined */
} FeFlat;

/* A table of FROM, where there are several. */
typedef struct FeFlatTable
{
	Oid			relid;
	int			mention;		/* 0: the table's first one */
	bool		outer;			/* its row may be missing */
	List	   *on;				/* Node *, ANDed: conditions of that outer join */
} FeFlatTable;

/* Are expressions over a row that the arms have in common? */
static inline bool
fe_flat_has_common_row(const FeFlat *flat)
{
	return flat->row_desc != NULL && flat->join == NULL;
}

extern FeFlat *fe_flatten(FeAnalysis *a, Query *query);
/* An expression over the row as one over an arm's row; a copy. */
extern Node *fe_flat_over_arm(Node *expr, const FeFlatArm *arm);
/* now() and its kin become feature_engine.now(); a changed copy. */
extern Query *fe_replace_now(FeAnalysis *a, Query *query);

/* The query of a view's rule, as stored; NULL when there is no such view (plan.c). */
extern Query *fe_view_query(Oid view);
/* ORDER BY in aggregates leaves no rows in no order, where it can; a changed copy. */
extern Query *fe_break_ties(Query *query);

/* The stored definition of a plan, flattened anew (plan.c). */
extern FeFlat *fe_plan_flatten(const FePlan *plan);

/* ---- current.c ------------------------------------------------------------- */

/* Columns (Var *) of the table's primary key, in its order; refuses where there is none. */
extern List *fe_primary_key(const FeAnalysis *a, Oid relid);
/* The query without GROUP BY as one with it, which is stored in its place. */
extern Query *fe_current_query(const FeFlat *flat);

/* ---- fingerprint.c ---------------------------------------------------------- */

/* Of what state depends on. */
extern uint32 fe_state_fingerprint(const FePlan *plan, int32 generation);
/* Of what evaluation depends on, too, and the form of what comes out. */
extern uint32 fe_plan_fingerprint(const FePlan *plan, int32 version);

/* ---- type_form.c ------------------------------------------------------------ */

struct StringInfoData;
/* What the text form of values depends on; *relations: of composite types, to be watched. */
extern void fe_append_type_form(struct StringInfoData *buf, Oid type, List **relations);

/* ---- row.c ------------------------------------------------------------------ */

/* For deparse_expression(): names of the row's columns; of a single arm the table's. */
extern List *fe_row_names(TupleDesc row_desc, Oid source);

/* ---- joins.c, join_plans.c --------------------------------------------------- */

/*
 * Several tables: finds which one is aggregated and by which keys the others are
 * looked up, and moves all expressions from the tables' columns to those of the
 * joined row.  Fills in arms, row_desc and join.
 */
extern void fe_join_tables(const FeAnalysis *a, FeFlat *flat, List *tables);
/*
 * By which equality a dimension is looked up, as SQL; tables are named by this
 * prefix and their arm's number, or by their own names (NULL).
 */
extern char *fe_join_key_text(const FeJoin *join, int d, int k, const char *prefix);
extern Bitmapset *fe_join_source_attrs(const FeJoin *join, int arm);

/* ---- changes.c -------------------------------------------------------------- */

/* The table of changes(NULL::table) in FROM; InvalidOid: it is not that. */
extern Oid	fe_changes_table(const FeAnalysis *a, const RangeTblEntry *rte);
/* A column of changes() over the change row; before and after come as a whole ... */
extern Node *fe_changes_column(const Var *var);
/* ... of which this takes a column; NULL: arg, flattened already, is none of them. */
extern Node *fe_changes_field(const FeAnalysis *a, const FieldSelect *field, Node *arg);
/* Refuses what is left of them. */
extern void fe_changes_refuse_images(const FeAnalysis *a, Node *node);
/* ERROR unless the role may read what a query takes of tables by changes(). */
extern void fe_changes_check_rights(const FeAnalysis *a, Query *query, Oid role);
/* Lets a stored definition depend on the tables whose changes it reads, not on their types. */
extern void fe_changes_depend_on_tables(Oid definition);
/* ERROR for arms that do not go together; at creation also unless what they need is in the log. */
extern void fe_changes_check_arms(const FeAnalysis *a, const FePlan *plan);
/* attrs: attribute numbers of the change row that the arm needs. */
extern void fe_changes_split_attrs(FeArm *arm, const Bitmapset *attrs);
/* Describes change rows of a table; a copy. */
extern TupleDesc fe_changes_row_desc(TupleDesc table);
/* The name of a change row's column, for messages. */
extern char *fe_changes_column_name(Oid source, AttrNumber attnum);

/* ---- check_sql.c ----------------------------------------------------------- */

/*
 * The statement that compares stream and batch: rows of key (jsonb text),
 * feature, streamed, batch.  sample < 0: all entities.  To be built and run
 * with the same search_path.
 */
extern char *fe_check_statement(const FePlan *plan, int sample);

/* ---- source.c ------------------------------------------------------------- */

/* Refuses tables that cannot be a source; whole_rows: of their rows, which change. */
extern void fe_source_check(const FeAnalysis *a, Oid relid, bool whole_rows);
/* ALTER TABLE statements, each with a semicolon and a space after it; NULL: none is needed. */
extern char *fe_partitions_missing_identities(Oid root);

/* ---- windows.c ------------------------------------------------------------ */

typedef struct FeWindowTerm
{
	Node	   *time;			/* event-time expression */
	Oid			type;
	FeWindow	window;
	int			location;
} FeWindowTerm;

/* Splits ANDed terms into windows and other conditions (constants folded). */
extern void fe_split_windows(const FeAnalysis *a, List *terms, const char *what,
							 List **windows, List **conditions);
extern void fe_check_window(const FeWindow *window, const FeAnalysis *a, int location);
/* window_functions.c: an argument of a call of rolling() and its kin; ERROR: months or years. */
extern int64 fe_window_usecs(const Interval *interval, const char *name);

/* ---- group_window.c --------------------------------------------------------- */

extern bool fe_is_group_function(const FeAnalysis *a, Oid funcid);
/* Moves the window among the keys, if there is one, to flat->window. */
extern void fe_take_window_key(const FeAnalysis *a, FeFlat *flat);
extern FeWindowTerm *fe_parse_group_window(const FeAnalysis *a, FeFlatKey *key);
/* The same rules for the SQL functions; location -1. */
extern void fe_check_group_window(const FeWindow *w, const FeAnalysis *a, int location);
/* The parts of a window that are written as constants (windows.c). */
extern bool fe_window_interval(const FeAnalysis *a, FuncExpr *call, int n, const char *name,
							   int64 *usecs);
extern int64 fe_window_origin(const FeAnalysis *a, FuncExpr *call, int n);
extern void fe_window_error(const FeAnalysis *a, int location, const char *message,
							const char *hint);

/* ---- analyze.c, outputs.c --------------------------------------------------- */

typedef struct FePlanBuilder
{
	FeAnalysis *a;
	FeFlat	   *flat;
	FePlan	   *plan;
	List	   *where_windows;	/* FeWindowTerm * */
	List	   *where_conditions;	/* Node *; the arms have conditions of their own */
	List	   *aggrefs;		/* Aggref *, as met; index = plan->aggs index by agg_of */
	List	   *agg_of;			/* int */
	FeAggMatch *matches;		/* per accumulator */
	uint32	   *flags;
	List	   *sets[FE_MAX_TRACKS];	/* FeWindowSet *, plan numbers */
	int			window_agg;		/* FE_WINDOW among the aggregates, -1 = not met */
} FePlanBuilder;

/* join_plans.c: the plans by which a joined view's rows are kept */
extern void fe_join_make_parts(FePlanBuilder *b);
extern void fe_join_identify_parts(FePlan *plan);

/* Fills the plan from a flattened definition, in CurrentMemoryContext. */
extern void fe_analyze(FeAnalysis *a, FeFlat *flat, FePlan *plan);
extern int	fe_plan_add_aggregate(FePlanBuilder *b, Aggref *agg);
/* The same of a column that the keys determine. */
extern int	fe_plan_add_current(FePlanBuilder *b, Var *column);
extern int	fe_plan_add_window(FePlanBuilder *b);
extern void fe_analyze_outputs(FePlanBuilder *b);
/* layout.c: accumulators that another one makes superfluous are left out ... */
extern void fe_plan_share_accumulators(FePlanBuilder *b);
/* ... and the others get their places. */
extern void fe_plan_lay_out(FePlanBuilder *b);
/* arms.c: last, when all row expressions are known */
extern void fe_plan_make_arms(FePlanBuilder *b);
/* Options that name columns: online, the key template. */
extern void fe_apply_options(FePlan *plan);

/* ---- catalog.c ------------------------------------------------------------- */

#define FE_CATALOG_TABLE	"feature_view_catalog"

/* A row of the catalogue. */
typedef struct FeCatalogRow
{
	int32		viewid;
	char	   *name;
	Oid			relation;		/* InvalidOid while pending */
	Oid			definition;
	int32		replaces;		/* 0, or the view that it will take over from */
	int32		version;
	int32		generation;		/* bumped to rebuild */
	Oid			history;		/* table, InvalidOid: there is none */
	bool		uncommitted;	/* written by the current transaction; set by reading */
	FeViewOptions options;
} FeCatalogRow;

extern Oid	fe_catalog_oid(bool missing_ok);
/* All rows by the latest snapshot, ordered by viewid. */
extern List *fe_catalog_read(void);
extern FeCatalogRow *fe_catalog_by_id(int32 viewid);
extern FeCatalogRow *fe_catalog_by_name(const char *name);
/* The same for 'name' or 'schema.name', read as SQL would read it. */
extern FeCatalogRow *fe_catalog_by_written_name(const char *name);
/* Held until commit: one definition command at a time. */
extern void fe_catalog_lock(void);
extern int32 fe_catalog_next_id(void);
extern void fe_catalog_insert(const FeCatalogRow *row);
extern void fe_catalog_update(const FeCatalogRow *row);
extern void fe_catalog_delete(int32 viewid);
/* Runs a statement on our tables as their owner, with a safe search_path. */
extern void fe_catalog_execute(const char *sql, int nargs, Oid *types, Datum *values,
							   const char *nulls);

/* InvalidOid when there is no such relation. */
extern Oid	fe_relation_owner(Oid relid);
/* Whose view it is: the relation's owner; InvalidOid while there is no relation. */
extern Oid	fe_catalog_owner(const FeCatalogRow *row);

/* ---- alter.c ---------------------------------------------------------------- */

/* Ends a replacement at once if both definitions need the same state. */
extern void fe_replace_at_once(int32 oldid, int32 newid);

/* ---- create.c, relation.c, options.c ----------------------------------------- */

/* The user's text (or a view's), parsed, analysed and checked. */
typedef struct FeNewDefinition
{
	FeAnalysis	a;
	Query	   *query;			/* now() replaced; to be stored */
	FePlan	   *plan;
} FeNewDefinition;

extern FeNewDefinition *fe_definition_analyze(const char *text, bool append_only);
extern char *fe_definition_text_of_view(Oid view);
/* Option arguments start at this argument number, in the order of the SQL
 * declaration; only non-NULL ones change *options. */
extern void fe_options_from_args(FunctionCallInfo fcinfo, int first, FeViewOptions *options);
/* retention, watermark; NULL: as they were. */
extern void fe_window_options_from_args(FunctionCallInfo fcinfo, int first, FeViewOptions *options);
/* offline, history_interval, history_retention; NULL: as they were. */
extern void fe_history_options_from_args(FunctionCallInfo fcinfo, int first,
										 FeViewOptions *options);
/* redis_layout, feast_project; NULL: as they were.  Once all options are known,
 * fe_feast_settle_options() checks them against each other, and fills in the project. */
extern void fe_layout_options_from_args(FunctionCallInfo fcinfo, int first,
										FeViewOptions *options);
extern const char *fe_redis_layout_name(FeRedisLayout layout);
extern bool fe_redis_layout_by_name(const char *name, FeRedisLayout *layout);
/* on_error; NULL: as it was. */
extern void fe_on_error_from_arg(FunctionCallInfo fcinfo, int n, FeViewOptions *options);
extern const char *fe_on_error_name(FeOnError on_error);
/* false: it is none of the names. */
extern bool fe_on_error_by_name(const char *name, FeOnError *on_error);

/* Creates the stored view; name: a wish, made unique. */
extern Oid	fe_create_definition_view(const char *name, Query *query);
/* Creates the foreign table that users read. */
extern Oid	fe_create_relation(const char *schema, const char *name, const FePlan *plan,
							   Oid owner);
extern void fe_add_relation_columns(Oid relation, const FePlan *plan);
extern void fe_record_dependency(Oid relation, Oid definition);
extern void fe_forget_dependency(Oid relation);
extern void fe_check_clashes(const FePlan *plan, int32 except);
/* feast.c: refuses what Feast has no form for; a and query (of positions) may be NULL */
extern void fe_feast_settle_options(FeViewOptions *options);
extern void fe_feast_check(const FePlan *plan, const FeAnalysis *a, Query *query);
/* Two views of one project: what they must agree on. */
extern void fe_feast_check_clash(const FePlan *plan, const FePlan *other);
/* Identity switches: code here runs as the extension's owner. */
extern void fe_become_owner(Oid *save_userid, int *save_sec);
extern void fe_become_self(Oid save_userid, int save_sec);

#endif							/* FE_DEFINITION_H */
