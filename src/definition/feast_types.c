/*
 * feast_types.c
 *		The table of Feast's types.  Runs wherever a definition is used; no locks.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "definition/feast_types.h"

/* ---- from PostgreSQL's types ------------------------------------------------------ */

static const struct
{
	Oid			type;
	FeFeastType feast;
}			base_types[] = {
	{BOOLOID, FE_FEAST_BOOL},
	{INT2OID, FE_FEAST_INT32},
	{INT4OID, FE_FEAST_INT32},
	{INT8OID, FE_FEAST_INT64},
	{FLOAT4OID, FE_FEAST_FLOAT},
	{FLOAT8OID, FE_FEAST_DOUBLE},
	{BYTEAOID, FE_FEAST_BYTES},
	{TIMESTAMPTZOID, FE_FEAST_UNIX_TIMESTAMP},
	{TIMESTAMPOID, FE_FEAST_UNIX_TIMESTAMP},
	{DATEOID, FE_FEAST_UNIX_TIMESTAMP},
};

static bool
is_text(Oid type)
{
	char		category;
	bool		preferred;

	if (get_typtype(type) == TYPTYPE_ENUM)
		return true;
	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_STRING && type != CHAROID;
}

static FeFeastType
scalar_type(Oid type)
{
	for (int i = 0; i < lengthof(base_types); i++)
		if (base_types[i].type == type)
			return base_types[i].feast;
	return is_text(type) ? FE_FEAST_STRING : FE_FEAST_NONE;
}

FeFeastType
fe_feast_type(Oid type)
{
	Oid			element;
	FeFeastType scalar;

	type = getBaseType(type);
	element = get_element_type(type);
	if (!OidIsValid(element))
		return scalar_type(type);
	scalar = scalar_type(getBaseType(element));
	return scalar == FE_FEAST_NONE ? scalar : (FeFeastType) (scalar + FE_FEAST_LIST);
}

FeFeastType
fe_feast_key_type(Oid type, int32 typmod)
{
	Oid			base = getBaseTypeAndTypmod(type, &typmod);
	FeFeastType feast = fe_feast_type(base);

	switch (feast)
	{
		case FE_FEAST_INT32:
		case FE_FEAST_INT64:
		case FE_FEAST_STRING:
		case FE_FEAST_BYTES:
			return feast;
		case FE_FEAST_UNIX_TIMESTAMP:
			return base == DATEOID || typmod == 0 ? feast : FE_FEAST_NONE;
		default:
			return FE_FEAST_NONE;
	}
}

/* ---- names ------------------------------------------------------------------------ */

static const struct
{
	const char *value_type;
	const char *list_value_type;
	const char *dtype;
	const char *list_dtype;
}			names[] = {
	[FE_FEAST_NONE] = {"INVALID", "INVALID", "Invalid", "Invalid"},
	[FE_FEAST_BYTES] = {"BYTES", "BYTES_LIST", "Bytes", "Array(Bytes)"},
	[FE_FEAST_STRING] = {"STRING", "STRING_LIST", "String", "Array(String)"},
	[FE_FEAST_INT32] = {"INT32", "INT32_LIST", "Int32", "Array(Int32)"},
	[FE_FEAST_INT64] = {"INT64", "INT64_LIST", "Int64", "Array(Int64)"},
	[FE_FEAST_DOUBLE] = {"DOUBLE", "DOUBLE_LIST", "Float64", "Array(Float64)"},
	[FE_FEAST_FLOAT] = {"FLOAT", "FLOAT_LIST", "Float32", "Array(Float32)"},
	[FE_FEAST_BOOL] = {"BOOL", "BOOL_LIST", "Bool", "Array(Bool)"},
	[FE_FEAST_UNIX_TIMESTAMP] = {"UNIX_TIMESTAMP", "UNIX_TIMESTAMP_LIST", "UnixTimestamp",
	"Array(UnixTimestamp)"},
};

const char *
fe_feast_value_type(FeFeastType type)
{
	FeFeastType element = fe_feast_element(type);

	return fe_feast_is_list(type) ? names[element].list_value_type : names[element].value_type;
}

const char *
fe_feast_dtype(FeFeastType type)
{
	FeFeastType element = fe_feast_element(type);

	return fe_feast_is_list(type) ? names[element].list_dtype : names[element].dtype;
}
