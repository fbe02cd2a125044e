/*
 * chunk.c
 *		Many entities' images in one piece of bytes, as a checkpoint stores them;
 *		see image.h for the form.
 *
 * Pure; no locks.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "port/pg_crc32c.h"

#include "state/image.h"

static void
set_fixed(char *to, uint64 v, int n)
{
	for (int i = 0; i < n; i++)
		to[i] = (char) (v >> (8 * i));
}

static uint64
get_fixed(const char *from, int n)
{
	uint64		v = 0;

	for (int i = 0; i < n; i++)
		v |= (uint64) (unsigned char) from[i] << (8 * i);
	return v;
}

static pg_crc32c
checksum(const char *data, Size len)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, data + FE_CHUNK_CHECKED, len - FE_CHUNK_CHECKED);
	FIN_CRC32C(crc);
	return crc;
}

/* ---- writing -------------------------------------------------------------------- */

void
fe_chunk_begin(StringInfo out, int ntracks)
{
	int			size = FE_CHUNK_HEADER + ntracks * sizeof(int64);

	resetStringInfo(out);
	enlargeStringInfo(out, size);
	memset(out->data, 0, size);
	out->len = size;
}

void
fe_chunk_add(StringInfo out, const FeLayout *layout, const FeEntity *e, StringInfo scratch)
{
	resetStringInfo(scratch);
	fe_image_write(layout, e, scratch);
	fe_image_put(out, scratch->len);
	fe_image_put_bytes(out, scratch->data, scratch->len);
}

void
fe_chunk_finish(StringInfo out, const FeChunk *header)
{
	char	   *to = out->data;

	set_fixed(to, FE_CHUNK_MAGIC, 4);
	set_fixed(to + 8, FE_CHUNK_VERSION, 2);
	to[10] = FE_CHUNK_BYTE_ORDER;
	to[11] = (char) header->ntracks;
	set_fixed(to + 12, out->len, 4);
	set_fixed(to + 16, (uint32) header->state_version, 4);
	set_fixed(to + 20, header->nentities, 4);
	set_fixed(to + 24, header->fingerprint, 8);
	for (int t = 0; t < header->ntracks; t++)
		set_fixed(to + FE_CHUNK_HEADER + t * sizeof(int64), (uint64) header->cutoff[t], 8);
	set_fixed(to + 4, checksum(out->data, out->len), 4);
}

/* ---- reading -------------------------------------------------------------------- */

static bool
refuse(const char **why, const char *reason)
{
	*why = reason;
	return false;
}

bool
fe_chunk_open(FeChunk *chunk, const char *data, Size len, const char **why)
{
	Size		header;

	*why = NULL;
	if (len < FE_CHUNK_HEADER || get_fixed(data, 4) != FE_CHUNK_MAGIC)
		return refuse(why, "it is not a chunk of feature state");
	if (get_fixed(data + 8, 2) != FE_CHUNK_VERSION)
		return refuse(why, "it is of another version of the format");
	if (data[10] != FE_CHUNK_BYTE_ORDER)
		return refuse(why, "it was written on a machine of another byte order");
	if (get_fixed(data + 12, 4) != len)
		return refuse(why, "its length is not what it says");
	if (get_fixed(data + 4, 4) != checksum(data, len))
		return refuse(why, "its check sum is wrong");
	chunk->ntracks = (unsigned char) data[11];
	header = FE_CHUNK_HEADER + chunk->ntracks * sizeof(int64);
	if (chunk->ntracks > FE_MAX_TRACKS || header > len)
		return refuse(why, "it has too many tracks");
	chunk->state_version = (int32) get_fixed(data + 16, 4);
	chunk->nentities = (uint32) get_fixed(data + 20, 4);
	chunk->fingerprint = get_fixed(data + 24, 8);
	for (int t = 0; t < chunk->ntracks; t++)
		chunk->cutoff[t] = (int64) get_fixed(data + FE_CHUNK_HEADER + t * sizeof(int64), 8);
	chunk->entities = data + header;
	chunk->end = data + len;
	return true;
}

bool
fe_chunk_next(const FeChunk *chunk, const char **pos, const char **image, Size *len,
			  const char **why)
{
	FeImageIn	in;

	*why = NULL;
	if (*pos == chunk->end)
		return false;
	fe_image_in_init(&in, *pos, chunk->end - *pos);
	*len = fe_image_get(&in);
	*image = fe_image_get_bytes(&in, *len);
	*pos = in.cur;
	if (in.error != NULL)
		return refuse(why, in.error);
	return true;
}

/* ---- what images depend on --------------------------------------------------------- */

static void
add(StringInfo text, int64 v)
{
	fe_image_put_signed(text, v);
}

static void
add_acc(StringInfo text, const FeAcc *acc)
{
	const FeAccSpec *spec = acc->spec;

	add(text, acc->track);
	fe_image_put_bytes(text, spec->kind->name, strlen(spec->kind->name) + 1);
	add(text, spec->flags);
	add(text, spec->argtype);
	add(text, spec->arglen);
	add(text, spec->argbyval);
	add(text, spec->argalign);
	add(text, spec->order);
	add(text, spec->packable);
	add(text, spec->images);
	add(text, spec->hashed);
	if (spec->params.n != 0)
		fe_image_put_bytes(text, &spec->params, sizeof(spec->params));
}

/*
 * Types by OID: those of types outlive pg_upgrade, and nothing else brings state
 * into another cluster.  Not the collations, whose OIDs do not: values are
 * checked to be in the order of today's.  A type that was dropped and made
 * again has another OID, and the view with it another state version.
 */
uint64
fe_layout_fingerprint(const FePlan *plan)
{
	StringInfoData text;
	uint64		hash;

	initStringInfo(&text);
	add(&text, plan->nkeys);
	for (int k = 0; k < plan->nkeys; k++)
	{
		const FeKey *key = &plan->keys[k];

		add(&text, key->type);
		add(&text, key->typlen);
		add(&text, key->typbyval);
		add(&text, key->typalign);
	}
	add(&text, plan->where_track);
	add(&text, plan->ntracks);
	for (int t = 0; t < plan->ntracks; t++)
	{
		const FeGrid *grid = &plan->tracks[t].grid;

		add(&text, plan->tracks[t].type);
		add(&text, grid->nlevels);
		for (int i = 1; i < grid->nlevels; i++)
		{
			add(&text, grid->step[i]);
			add(&text, grid->offset[i]);
		}
	}
	add(&text, plan->naccs);
	for (int i = 0; i < plan->naccs; i++)
		add_acc(&text, &plan->accs[i]);
	hash = hash_bytes_extended((const unsigned char *) text.data, text.len, 0);
	pfree(text.data);
	return hash;
}
