/*
 * training.c
 *		Training sets: get_historical_features(), historical_features_sql(),
 *		create_training_set().
 *
 * Runs in the caller's backend and as the caller, who needs SELECT on the history
 * tables and on what the entity query reads.  Rows go from the executor into a
 * tuplestore, which spills at work_mem, or into the table.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "runtime/compat.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/regproc.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "offline/training.h"

PG_FUNCTION_INFO_V1(fe_get_historical_features);
PG_FUNCTION_INFO_V1(fe_historical_features_sql);
PG_FUNCTION_INFO_V1(fe_create_training_set);

/* Arguments, from that of the entity query on. */
enum
{
	ARG_ENTITIES,
	ARG_FEATURES,
	ARG_SERVICE,
	ARG_MAX_AGE,
	ARG_FULL_NAMES,
	ARG_KNOWN_ONLY
};

/* ---- arguments --------------------------------------------------------------------- */

static FeFeatureList *
wanted_features(FunctionCallInfo fcinfo, int first)
{
	bool		full_names = !PG_ARGISNULL(first + ARG_FULL_NAMES) &&
		PG_GETARG_BOOL(first + ARG_FULL_NAMES);
	FeService  *service;

	if (PG_ARGISNULL(first + ARG_FEATURES) == PG_ARGISNULL(first + ARG_SERVICE))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 PG_ARGISNULL(first + ARG_FEATURES) ? errmsg("no features are named") :
				 errmsg("both features and service are given"),
				 errhint("Name them, features => ARRAY['view:feature', 'other_view:*'], or a feature service, service => 'name'.")));
	if (PG_ARGISNULL(first + ARG_SERVICE))
		return fe_features_resolve(fe_feature_references(PG_GETARG_DATUM(first + ARG_FEATURES)),
								   full_names, NULL, false);
	service = fe_service_by_name(text_to_cstring(PG_GETARG_TEXT_PP(first + ARG_SERVICE)), false);
	service->full_names |= full_names;
	return fe_service_resolve(service, false);
}

static int64
max_age_argument(const Interval *interval)
{
	int64		usecs;

	if (interval->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_age must not have months or years"),
				 errhint("Write '30 days' instead of '1 month'.")));
	if (!fe_interval_usecs(interval, &usecs))	/* longer than all of time */
		usecs = interval->day < 0 ? -1 : PG_INT64_MAX;
	if (usecs < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_age must not be negative")));
	return usecs;
}

static FeTrainingRequest *
training_request(FunctionCallInfo fcinfo, int first)
{
	FeTrainingRequest *r = palloc0(sizeof(FeTrainingRequest));

	if (PG_ARGISNULL(first + ARG_ENTITIES))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the entity query must not be NULL")));
	r->features = wanted_features(fcinfo, first);
	r->max_age = PG_ARGISNULL(first + ARG_MAX_AGE) ? -1 :
		max_age_argument(PG_GETARG_INTERVAL_P(first + ARG_MAX_AGE));
	r->known_only = !PG_ARGISNULL(first + ARG_KNOWN_ONLY) &&
		PG_GETARG_BOOL(first + ARG_KNOWN_ONLY);
	r->given = text_to_cstring(PG_GETARG_TEXT_PP(first + ARG_ENTITIES));
	r->entities = fe_entities_analyze(r->given);
	return r;
}

/* ---- the caller's column list --------------------------------------------------------- */

/* What the statement returns. */
static TupleDesc
result_desc(const FeTrainingRequest *r)
{
	int			nentity = list_length(r->entities->columns);
	TupleDesc	desc = CreateTemplateTupleDesc(nentity + r->features->nfeatures);
	ListCell   *lc;

	foreach(lc, r->entities->columns)
	{
		FeEntityColumn *c = lfirst(lc);

		TupleDescInitEntry(desc, foreach_current_index(lc) + 1, c->name, c->type, c->typmod, 0);
	}
	for (int i = 0; i < r->features->nfeatures; i++)
	{
		const FeColumn *c = fe_feature_column(r->features, i);

		TupleDescInitEntry(desc, nentity + i + 1, r->features->features[i].name, c->type,
						   c->typmod, 0);
	}
	return desc;
}

static char *
column_list(TupleDesc desc)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "",
						 fe_column_text(NameStr(att->attname), att->atttypid, att->atttypmod));
	}
	return list.data;
}

/* NULL: the list that was given is right. */
static char *
column_list_problem(TupleDesc given, TupleDesc right)
{
	for (int i = 0; i < Min(given->natts, right->natts); i++)
	{
		Form_pg_attribute g = TupleDescAttr(given, i);
		Form_pg_attribute r = TupleDescAttr(right, i);

		if (strcmp(NameStr(g->attname), NameStr(r->attname)) != 0)
			return psprintf(_("Column %d is \"%s\", not \"%s\"."), i + 1, NameStr(r->attname),
							NameStr(g->attname));
		if (g->atttypid != r->atttypid || (g->atttypmod >= 0 && g->atttypmod != r->atttypmod))
			return psprintf(_("Column \"%s\" is of type %s, not %s."), NameStr(r->attname),
							format_type_with_typemod(r->atttypid, r->atttypmod),
							format_type_with_typemod(g->atttypid, g->atttypmod));
	}
	if (given->natts != right->natts)
		return psprintf(_("The training set has %d columns, and %d are listed."), right->natts,
						given->natts);
	return NULL;
}

static void
check_column_list(TupleDesc given, const FeTrainingRequest *r)
{
	TupleDesc	right = result_desc(r);
	char	   *problem = column_list_problem(given, right);

	if (problem)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the column list is not that of the training set"),
				 errdetail("%s", problem),
				 errhint("Write get_historical_features(...) AS f(%s).", column_list(right))));
}

/*
 * No JIT while the statement runs: estimates grow with the number of partitions, and
 * compiling their scans would take longer than the probes.
 */
static int
begin_run(void)
{
	int			nestlevel = NewGUCNestLevel();

	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
							 false);
	SPI_connect();
	return nestlevel;
}

static void
end_run(int nestlevel)
{
	SPI_finish();
	AtEOXact_GUC(false, nestlevel);
}

/* ---- running it -------------------------------------------------------------------------- */

/* get_historical_features(entities, ...) returns setof record */
Datum
fe_get_historical_features(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SPIExecuteOptions options = {.must_return_tuples = true};
	FeTrainingRequest *r;
	char	   *sql;
	int			nestlevel;

	if (rsinfo && IsA(rsinfo, ReturnSetInfo) && rsinfo->expectedDesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("get_historical_features() needs a column list"),
				 errhint("Call it in FROM: SELECT * FROM get_historical_features(...) AS f(...).")));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	r = training_request(fcinfo, 0);
	check_column_list(rsinfo->expectedDesc, r);
	sql = fe_training_sql(r);
	options.dest = CreateDestReceiver(DestTuplestore);
	SetTuplestoreDestReceiverParams(options.dest, rsinfo->setResult,
									rsinfo->econtext->ecxt_per_query_memory, false, NULL, NULL);
	nestlevel = begin_run();
	if (SPI_execute_extended(sql, &options) < 0)
		elog(ERROR, "could not execute the statement of a training set");
	end_run(nestlevel);
	return (Datum) 0;
}

/* historical_features_sql(entities, ...) returns text */
Datum
fe_historical_features_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(fe_training_sql(training_request(fcinfo, 0))));
}

/* create_training_set(name, entities, ...) returns bigint */
Datum
fe_create_training_set(PG_FUNCTION_ARGS)
{
	char	   *name;
	RangeVar   *table;
	char	   *sql;
	uint64		rows;
	int			nestlevel;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("name of a training set must not be NULL")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	table = makeRangeVarFromNameList(fe_compat_qualified_name(name));
	/* refuses another database's name, which the statement below has no more */
	(void) RangeVarGetCreationNamespace(table);
	sql = fe_training_sql(training_request(fcinfo, 1));
	nestlevel = begin_run();
	if (SPI_execute(psprintf("CREATE TABLE %s AS %s",
							 quote_qualified_identifier(table->schemaname, table->relname), sql),
					false, 0) < 0)
		elog(ERROR, "could not create the table of a training set");
	rows = SPI_processed;
	end_run(nestlevel);
	PG_RETURN_INT64(rows);
}
