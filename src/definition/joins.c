/*
 * joins.c
 *		Joins of a definition: one table whose rows are aggregated, and others of
 *		which each row is looked up by a unique key.
 *
 * Flattening leaves every column as a Var of its table (varno: the table's number
 * in FROM).  Here is found which table is the *fact* table, by which equalities
 * each of the others, a *dimension*, is looked up, and then every column becomes
 * one of the *joined row*: needed columns of the fact table, then those of the
 * dimensions.  With at most one row of a dimension for a fact row, a change of the
 * one takes out and puts in what that row was joined with: everything else is
 * refused.
 *
 * That a key is unique is looked up when a definition is created.  Later the rows
 * themselves tell (../ingest/): a view whose dimension has two rows for a key stops.
 *
 * Runs wherever a definition is compiled; looks at catalogues only.
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"

#include "definition/joins.h"

/* ---- which table is which --------------------------------------------------------- */

static List *
conditions_of(const FeFlat *flat, const FeFlatTable *table)
{
	return table->outer ? table->on : flat->where;
}

/*
 * What looks a dimension up; NIL: its rows are not found by a unique key (any:
 * by equality with any columns).
 */
static List *
find_lookup(const FeFlat *flat, List *tables, int fact, int dim, bool any, Oid *index)
{
	const FeFlatTable *table = list_nth(tables, dim - 1);
	List	   *equalities = fe_lookup_equalities(conditions_of(flat, table), fact, dim);
	List	   *lookup = fe_lookup_unique(table->relid, equalities, index);

	return lookup == NIL && any ? equalities : lookup;
}

static bool
is_fact_table(const FeFlat *flat, List *tables, int fact, bool any)
{
	Oid			index;

	if (((FeFlatTable *) list_nth(tables, fact - 1))->outer)
		return false;
	for (int dim = 1; dim <= list_length(tables); dim++)
		if (dim != fact && find_lookup(flat, tables, fact, dim, any, &index) == NIL)
			return false;
	return true;
}

static int
location_of(const FeAnalysis *a, const FeFlatTable *table)
{
	return fe_relation_location(a, table->relid, table->mention);
}

static void
check_tables(const FeAnalysis *a, List *tables, int fact)
{
	const FeFlatTable *f = list_nth(tables, fact - 1);

	if (list_length(tables) > FE_MAX_DIMENSIONS + 1)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a feature view cannot join more than %d tables", FE_MAX_DIMENSIONS + 1),
				 fe_errposition(a, location_of(a, list_nth(tables, FE_MAX_DIMENSIONS + 1)))));
	for (int i = 1; i <= list_length(tables); i++)
	{
		const FeFlatTable *table = list_nth(tables, i - 1);

		if (i != fact && table->relid == f->relid)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a table cannot be joined to itself in a feature view"),
					 errhint("Join the feature view with the table when reading it."),
					 fe_errposition(a, location_of(a, i > fact ? table : f))));
	}
}

/* No table has all others looked up: says so of the first one that could be it. */
static void
refuse_join(const FeAnalysis *a, const FeFlat *flat, List *tables)
{
	int			fact = 1;
	int			dim = 1;
	Oid			index;
	char	   *factname;
	char	   *dimname;

	while (fact < list_length(tables) && ((FeFlatTable *) list_nth(tables, fact - 1))->outer)
		fact++;
	while (dim == fact || find_lookup(flat, tables, fact, dim, false, &index) != NIL)
		dim++;
	check_tables(a, tables, fact);
	factname = get_rel_name(((FeFlatTable *) list_nth(tables, fact - 1))->relid);
	dimname = get_rel_name(((FeFlatTable *) list_nth(tables, dim - 1))->relid);
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("\"%s\" cannot be joined to \"%s\" in a feature view", dimname, factname),
			 errdetail("Its rows are not looked up by a unique key: no primary key or unique "
					   "constraint of \"%s\" has all its columns equal to columns of \"%s\", of "
					   "the same types and collations.", dimname, factname),
			 errhint("A feature view aggregates the rows of one table; of each other table it may "
					 "add the row with a given key: FROM %s JOIN %s ON %s.key = %s.column.",
					 factname, dimname, dimname, factname),
			 fe_errposition(a, location_of(a, list_nth(tables, dim - 1)))));
}

/* Of a stored definition a unique key may be gone: then rows tell whether it is one. */
static int
find_fact_table(const FeAnalysis *a, const FeFlat *flat, List *tables)
{
	for (int any = 0; any <= !a->check; any++)
		for (int fact = 1; fact <= list_length(tables); fact++)
			if (is_fact_table(flat, tables, fact, any))
				return fact;
	refuse_join(a, flat, tables);
	return 0;
}

/* ---- the joined row ------------------------------------------------------------------ */

typedef struct RowBuilder
{
	List	   *tables;			/* FeFlatTable * */
	int			fact;
	Bitmapset **used;			/* by table number: attribute numbers */
	FeJoin	   *join;
	int		   *arm_of;			/* by table number; 0 = fact */
} RowBuilder;

static bool
note_columns(Node *node, void *arg)
{
	RowBuilder *b = arg;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;

		b->used[var->varno] = bms_add_member(b->used[var->varno], var->varattno);
		return false;
	}
	return expression_tree_walker(node, note_columns, arg);
}

static int
column_number(const FeJoin *join, int arm, AttrNumber attnum)
{
	for (int i = 0; i < join->ncolumns; i++)
		if (join->columns[i].arm == arm && join->columns[i].attnum == attnum)
			return i;
	elog(ERROR, "column %d of joined table %d is not in the row", attnum, arm);
	return -1;
}

static Node *
over_row_mutator(Node *node, void *arg)
{
	RowBuilder *b = arg;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var		   *var = copyObject((Var *) node);

		var->varattno = column_number(b->join, b->arm_of[var->varno], var->varattno) + 1;
		var->varno = 1;
		var->varnosyn = 1;
		var->varattnosyn = var->varattno;
		return (Node *) var;
	}
	return expression_tree_mutator(node, over_row_mutator, arg);
}

static void
add_columns(RowBuilder *b, int table)
{
	FeJoin	   *join = b->join;
	int			attnum = -1;

	while ((attnum = bms_next_member(b->used[table], attnum)) >= 0)
	{
		join->columns[join->ncolumns].arm = b->arm_of[table];
		join->columns[join->ncolumns].attnum = attnum;
		join->ncolumns++;
	}
}

static int
total_used(const RowBuilder *b)
{
	int			n = 0;

	for (int i = 1; i <= list_length(b->tables); i++)
		n += bms_num_members(b->used[i]);
	return n;
}

/* The column's own name, or with the table's where that is not enough. */
static char *
column_name(const RowBuilder *b, int column)
{
	const FeJoin *join = b->join;
	char	   *name = NULL;

	for (int i = 0; i < join->ncolumns; i++)
	{
		char	   *other = get_attname(join->relids[join->columns[i].arm],
										join->columns[i].attnum, false);

		if (i == column)
			name = name ? psprintf("%s_%s", get_rel_name(join->relids[join->columns[i].arm]), name) :
				other;
		else if (strcmp(other, get_attname(join->relids[join->columns[column].arm],
										   join->columns[column].attnum, false)) == 0 && i < column)
			name = other;
	}
	return name;
}

static TupleDesc
describe_row(const RowBuilder *b)
{
	const FeJoin *join = b->join;
	TupleDesc	desc = CreateTemplateTupleDesc(join->ncolumns);

	for (int i = 0; i < join->ncolumns; i++)
	{
		Oid			type;
		int32		typmod;
		Oid			collation;

		get_atttypetypmodcoll(join->relids[join->columns[i].arm], join->columns[i].attnum,
							  &type, &typmod, &collation);
		TupleDescInitEntry(desc, i + 1, column_name(b, i), type, typmod, 0);
		TupleDescInitEntryCollation(desc, i + 1, collation);
	}
	return desc;
}

/* ---- dimensions ------------------------------------------------------------------------ */

static void
fill_key(const RowBuilder *b, FeJoinKey *key, const FeEquality *eq)
{
	key->attnum = eq->dim->varattno;
	key->column = column_number(b->join, 0, eq->fact->varattno);
	key->op = eq->op;
	key->type = fe_lookup_type(eq);
	key->collation = eq->collation;
	key->dim_type = getBaseType(eq->dim->vartype);
	key->fact_type = getBaseType(eq->fact->vartype);
}

static void
fill_dimension(const RowBuilder *b, FeDimension *dim, const FeFlatTable *table, int arm,
			   List *lookup)
{
	ListCell   *lc;

	dim->outer = table->outer;
	dim->keys = palloc0(sizeof(FeJoinKey) * list_length(lookup));
	foreach(lc, lookup)
		fill_key(b, &dim->keys[dim->nkeys++], lfirst(lc));
	for (int i = 0; i < b->join->ncolumns; i++)
	{
		if (b->join->columns[i].arm != arm)
			continue;
		if (dim->ncolumns++ == 0)
			dim->first = i;
	}
}

/*
 * Which columns of a fact row are kept for a dimension: all that are in use, the
 * join's own ones only if something else needs them.
 */
static void
choose_kept(const RowBuilder *b, FeDimension *dim, const Bitmapset *elsewhere)
{
	dim->kept = palloc0(sizeof(int) * (b->join->ncolumns + 1));
	for (int i = 0; i < b->join->ncolumns; i++)
	{
		bool		needed = bms_is_member(b->join->columns[i].attnum, elsewhere);

		if (b->join->columns[i].arm != 0)
			continue;
		for (int d = 0; d < b->join->ndims && !needed; d++)
			for (int k = 0; k < b->join->dims[d].nkeys; k++)
				needed |= &b->join->dims[d] != dim && b->join->dims[d].keys[k].column == i;
		if (needed)
			dim->kept[dim->nkept++] = i;
	}
}

/* Conditions that are not what some dimension is looked up by. */
static List *
other_conditions(List *conditions, List *lookups)
{
	List	   *result = NIL;
	ListCell   *lc;
	ListCell   *lk;
	ListCell   *le;

	foreach(lc, conditions)
	{
		bool		used = false;

		foreach(lk, lookups)
			foreach(le, (List *) lfirst(lk))
				used |= ((FeEquality *) lfirst(le))->condition == lfirst(lc);
		if (!used)
			result = lappend(result, lfirst(lc));
	}
	return result;
}

static void
check_outer(const FeAnalysis *a, const FeFlatTable *table, List *lookups)
{
	List	   *others = other_conditions(table->on, lookups);

	if (table->outer && others != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("LEFT JOIN ... ON with conditions other than equality with a unique key is not supported in a feature view"),
				 errhint("Put the condition into WHERE, or into the FILTER of the aggregates that "
						 "it is meant for."),
				 fe_errposition(a, exprLocation(linitial(others)))));
}

/* Conditions of the whole query, each of them one term of an AND. */
static List *
terms_of(List *conditions)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, conditions)
		result = list_concat(result, make_ands_implicit(lfirst(lc)));
	return result;
}

static void
note_all(RowBuilder *b, FeFlat *flat)
{
	ListCell   *lc;

	(void) note_columns((Node *) flat->where, b);
	(void) note_columns((Node *) flat->having, b);
	if (flat->window)
		(void) note_columns(flat->window->expr, b);
	foreach(lc, flat->keys)
		(void) note_columns(((FeFlatKey *) lfirst(lc))->expr, b);
	foreach(lc, flat->targets)
		(void) note_columns(((FeFlatTarget *) lfirst(lc))->expr, b);
}

static void
move_all(RowBuilder *b, FeFlat *flat)
{
	ListCell   *lc;

	flat->where = (List *) over_row_mutator((Node *) flat->where, b);
	flat->having = (List *) over_row_mutator((Node *) flat->having, b);
	if (flat->window)
		flat->window->expr = over_row_mutator(flat->window->expr, b);
	foreach(lc, flat->keys)
		((FeFlatKey *) lfirst(lc))->expr = over_row_mutator(((FeFlatKey *) lfirst(lc))->expr, b);
	foreach(lc, flat->targets)
		((FeFlatTarget *) lfirst(lc))->expr =
			over_row_mutator(((FeFlatTarget *) lfirst(lc))->expr, b);
}

static FeFlatArm *
make_joined_arm(Oid relid, FeRowForm form)
{
	FeFlatArm  *arm = palloc0(sizeof(FeFlatArm));

	arm->source = relid;
	arm->form = form;
	return arm;
}

/* Numbers arms: the fact table 0, the others in their order; finds their lookups. */
static List *
number_arms(const FeAnalysis *a, FeFlat *flat, RowBuilder *b)
{
	List	   *lookups = NIL;
	FeFlatTable *fact = list_nth(b->tables, b->fact - 1);

	flat->arms = list_make1(make_joined_arm(fact->relid, FE_FORM_JOINED));
	b->join->relids[0] = fact->relid;
	for (int t = 1; t <= list_length(b->tables); t++)
	{
		FeFlatTable *table = list_nth(b->tables, t - 1);

		if (t == b->fact)
			continue;
		b->arm_of[t] = ++b->join->ndims;
		b->join->relids[b->join->ndims] = table->relid;
		flat->arms = lappend(flat->arms, make_joined_arm(table->relid, FE_FORM_DIMENSION));
		lookups = lappend(lookups, find_lookup(flat, b->tables, b->fact, t, !a->check,
											   &b->join->dims[b->join->ndims - 1].index));
		check_outer(a, table, lookups);
	}
	return lookups;
}

void
fe_join_tables(const FeAnalysis *a, FeFlat *flat, List *tables)
{
	RowBuilder	b = {.tables = tables};
	FeJoin	   *join = palloc0(sizeof(FeJoin));
	Bitmapset  *elsewhere;
	List	   *lookups;
	ListCell   *lc;
	ListCell   *le;

	flat->where = terms_of(flat->where);
	foreach(lc, tables)
		((FeFlatTable *) lfirst(lc))->on = terms_of(((FeFlatTable *) lfirst(lc))->on);
	b.fact = find_fact_table(a, flat, tables);
	check_tables(a, tables, b.fact);
	b.join = flat->join = join;
	b.used = palloc0(sizeof(Bitmapset *) * (list_length(tables) + 1));
	b.arm_of = palloc0(sizeof(int) * (list_length(tables) + 1));
	join->relids = palloc0(sizeof(Oid) * list_length(tables));
	join->dims = palloc0(sizeof(FeDimension) * list_length(tables));
	lookups = number_arms(a, flat, &b);
	flat->where = other_conditions(flat->where, lookups);

	note_all(&b, flat);
	elsewhere = bms_copy(b.used[b.fact]);
	foreach(lc, lookups)
		foreach(le, (List *) lfirst(lc))
			(void) note_columns((Node *) ((FeEquality *) lfirst(le))->fact, &b);
	join->columns = palloc0(sizeof(FeJoinColumn) * (total_used(&b) + 1));
	add_columns(&b, b.fact);
	for (int t = 1; t <= list_length(tables); t++)
		if (t != b.fact)
			add_columns(&b, t);
	flat->row_desc = describe_row(&b);
	for (int t = 1; t <= list_length(tables); t++)
		if (t != b.fact)
			fill_dimension(&b, &join->dims[b.arm_of[t] - 1], list_nth(tables, t - 1),
						   b.arm_of[t], list_nth(lookups, b.arm_of[t] - 1));
	for (int d = 0; d < join->ndims; d++)
		choose_kept(&b, &join->dims[d], elsewhere);
	move_all(&b, flat);
}

/* Columns of an arm's table that have to be captured. */
Bitmapset *
fe_join_source_attrs(const FeJoin *join, int arm)
{
	Bitmapset  *attrs = NULL;

	for (int i = 0; i < join->ncolumns; i++)
		if (join->columns[i].arm == arm)
			attrs = bms_add_member(attrs, join->columns[i].attnum);
	if (arm > 0)
		for (int k = 0; k < join->dims[arm - 1].nkeys; k++)
			attrs = bms_add_member(attrs, join->dims[arm - 1].keys[k].attnum);
	return attrs;
}
