/*
 * hll_acc.c
 *		Accumulator kind "hyperloglog": approx_count_distinct in append-only views.
 *
 * A sketch forgets which values it has seen, so that none can leave: definitions
 * over rows that change are refused (analyze.c), and a retraction, which then
 * cannot come, is left out.  Sparse: a sequence of entries, 4 bytes each, in
 * order; past STORED_SPARSE of them dense: 2^14 registers of a byte in 32 pieces,
 * 16.5 kB.  The pieces have the size of the sequence's chunks, of which there are
 * as many by then: they are used again, and no memory is needed that many entities
 * might want at the same moment.  That is later than the sketch itself becomes
 * dense, at FE_HLL_SPARSE: readers see to that.
 *
 * The hash is computed where rows are merged, under the entity's lock: it comes
 * with the row as an int8 (the row expression is feature_engine.hll_hash(x)),
 * because a type's own function may raise errors, which a merge must not.
 *
 * Writers: the ingest worker under the entity's lock; readers under the same
 * lock, shared.
 */
#include "postgres.h"

#include "aggregate/hll.h"
#include "aggregate/image.h"

#define STORED_SPARSE	4096	/* entries: 32 chunks at least */
#define PIECE		512			/* registers */
#define PIECES		(FE_HLL_REGISTERS / PIECE)

typedef struct HllAcc
{
	FeSeq		seq;			/* sparse: entries */
	FeRef		pieces;			/* dense: FeRef[PIECES] */
	uint32		unused;
} HllAcc;

static void
hll_prepare(FeAccSpec *spec)
{
	spec->size = sizeof(HllAcc);
}

static inline uint8 *
piece_of(const HllAcc *acc, int i)
{
	return fe_heap_ptr(((const FeRef *) fe_heap_ptr(acc->pieces))[i]);
}

static int
compare_entry(const void *element, const void *key, void *arg)
{
	uint32		place = FE_HLL_PLACE(*(const uint32 *) element);
	uint32		other = FE_HLL_PLACE(*(const uint32 *) key);

	return (place > other) - (place < other);
}

static inline void
raise_register(uint8 *registers, uint32 number, uint8 value)
{
	registers[number] = Max(registers[number], value);
}

static void
set_register(HllAcc *acc, uint32 entry)
{
	uint8		value;
	uint32		number = fe_hll_register(entry, &value);

	raise_register(piece_of(acc, number / PIECE), number % PIECE, value);
}

static void
alloc_pieces(FeHeap *heap, HllAcc *acc, const void *registers)
{
	FeRef		pieces = fe_heap_alloc(heap, PIECES * sizeof(FeRef));

	for (int i = 0; i < PIECES; i++)
	{
		FeRef		piece = fe_heap_alloc(heap, PIECE);

		((FeRef *) fe_heap_ptr(pieces))[i] = piece;
		memcpy(fe_heap_ptr(piece), (const char *) registers + i * PIECE, PIECE);
	}
	acc->pieces = pieces;
}

/* Entries are given back first: their chunks become pieces. */
static void
make_dense(FeHeap *heap, HllAcc *acc)
{
	uint8		registers[FE_HLL_REGISTERS] = {0};
	FeSeqIter	it;
	const uint32 *entry;

	fe_seq_iter(&it, &acc->seq, sizeof(uint32), 0);
	while ((entry = fe_seq_next(&it)) != NULL)
	{
		uint8		value;
		uint32		number = fe_hll_register(*entry, &value);

		raise_register(registers, number, value);
	}
	fe_seq_clear(heap, &acc->seq, sizeof(uint32));
	alloc_pieces(heap, acc, registers);
}

static void
add_entry(FeHeap *heap, HllAcc *acc, uint32 entry)
{
	if (acc->pieces != 0)
		set_register(acc, entry);
	else
	{
		uint32	   *e = fe_seq_upsert(heap, &acc->seq, sizeof(uint32), &entry, compare_entry,
									  NULL, NULL);

		*e = Max(*e, entry);
		if (acc->seq.count > STORED_SPARSE)
			make_dense(heap, acc);
	}
}

static void
hll_apply(FeHeap *heap, const FeAccSpec *spec, void *acc, const FeAccInput *in, int sign)
{
	if (!in->isnull && sign > 0)
		add_entry(heap, acc, fe_hll_entry((uint64) DatumGetInt64(in->value)));
}

static void
hll_clear(FeHeap *heap, const FeAccSpec *spec, void *accp)
{
	HllAcc	   *acc = accp;

	fe_seq_clear(heap, &acc->seq, sizeof(uint32));
	if (acc->pieces != 0)
	{
		for (int i = 0; i < PIECES; i++)
			fe_heap_free(heap, ((FeRef *) fe_heap_ptr(acc->pieces))[i], PIECE);
		fe_heap_free(heap, acc->pieces, PIECES * sizeof(FeRef));
	}
	memset(acc, 0, sizeof(HllAcc));
}

static void
hll_combine(FeHeap *heap, const FeAccSpec *spec, void *dstp, void *srcp)
{
	HllAcc	   *dst = dstp;
	HllAcc	   *src = srcp;
	FeSeqIter	it;
	const uint32 *entry;

	if (dst->pieces == 0 && (src->pieces != 0 || src->seq.count > dst->seq.count))
	{
		HllAcc		swap = *dst;

		*dst = *src;
		*src = swap;
	}
	for (int i = 0; i < PIECES && src->pieces != 0; i++)
	{
		uint8	   *to = piece_of(dst, i);
		const uint8 *from = piece_of(src, i);

		for (int k = 0; k < PIECE; k++)
			to[k] = Max(to[k], from[k]);
	}
	fe_seq_iter(&it, &src->seq, sizeof(uint32), 0);
	while ((entry = fe_seq_next(&it)) != NULL)
		add_entry(heap, dst, *entry);
	hll_clear(heap, spec, src);
}

static Size
hll_room(const FeAccSpec *spec, const FeAccInput *in)
{
	return in->isnull ? 0 : FE_HEAP_GRANULE;
}

/* ---- reading -------------------------------------------------------------- */

struct FeAccRead
{
	FeHll	   *hll;
};

static FeAccRead *
hll_read_create(const FeAccSpec *spec, const FeFinal *final)
{
	FeAccRead  *r = palloc0(sizeof(FeAccRead));

	r->hll = fe_hll_create(CurrentMemoryContext);
	return r;
}

static void
hll_read_reset(FeAccRead *r)
{
	fe_hll_reset(r->hll);
}

static void
hll_read_add(FeAccRead *r, const void *accp)
{
	const HllAcc *acc = accp;
	FeSeqIter	it;
	const uint32 *entry;

	for (int i = 0; i < PIECES && acc->pieces != 0; i++)
		fe_hll_add_registers(r->hll, piece_of(acc, i), i * PIECE, PIECE);
	fe_seq_iter(&it, &acc->seq, sizeof(uint32), 0);
	while ((entry = fe_seq_next(&it)) != NULL)
		fe_hll_add(r->hll, *entry);
}

static Datum
hll_read_final(FeAccRead *r, bool *isnull)
{
	*isnull = false;
	return Int64GetDatum(fe_hll_count(r->hll));
}

/* ---- byte form ------------------------------------------------------------ */

/*
 * 1 + the number of entries, each as the distance from the one before; or 0, and
 * the registers.
 */
static void
hll_image_write(const FeAccSpec *spec, const void *accp, StringInfo out)
{
	const HllAcc *acc = accp;
	uint32		before = 0;
	FeSeqIter	it;
	const uint32 *entry;

	fe_image_put(out, acc->pieces != 0 ? 0 : 1 + (uint64) acc->seq.count);
	for (int i = 0; i < PIECES && acc->pieces != 0; i++)
		fe_image_put_bytes(out, piece_of(acc, i), PIECE);
	fe_seq_iter(&it, &acc->seq, sizeof(uint32), 0);
	while ((entry = fe_seq_next(&it)) != NULL)
	{
		fe_image_put(out, *entry - before);
		before = *entry;
	}
}

static void
read_registers(FeHeap *heap, HllAcc *acc, FeImageIn *in)
{
	const char *bytes = fe_image_get_bytes(in, FE_HLL_REGISTERS);

	if (bytes == NULL)
		return;
	if (heap != NULL)
	{
		alloc_pieces(heap, acc, bytes);
		return;
	}
	for (int i = 0; i < FE_HLL_REGISTERS; i++)
		if ((uint8) bytes[i] > FE_HLL_MOST)
			fe_image_fail(in, "a register is out of range");
	fe_image_add_room(in, PIECES * sizeof(FeRef));
	for (int i = 0; i < PIECES; i++)
		fe_image_add_room(in, PIECE);
}

static void
read_entries(FeHeap *heap, HllAcc *acc, uint32 n, FeImageIn *in)
{
	uint64		before = 0;
	FeSeqIter	it;

	if (heap == NULL)
		in->room += fe_seq_load_room(n, sizeof(uint32));
	else
	{
		fe_seq_load(heap, &acc->seq, sizeof(uint32), n);
		fe_seq_iter(&it, &acc->seq, sizeof(uint32), 0);
	}
	for (uint32 i = 0; i < n && in->error == NULL; i++)
	{
		uint64		entry = before + fe_image_get(in);

		if (heap != NULL)
			*(uint32 *) fe_seq_next(&it) = (uint32) entry;
		else if (entry > PG_UINT32_MAX || !fe_hll_entry_is_valid((uint32) entry) ||
				 (i > 0 && FE_HLL_PLACE(entry) <= FE_HLL_PLACE(before)))
			fe_image_fail(in, "entries are not in their order");
		before = entry;
	}
}

static void
hll_image_read(FeHeap *heap, const FeAccSpec *spec, void *acc, FeImageIn *in)
{
	uint64		n = fe_image_get(in);

	if (n > 1 + STORED_SPARSE)
		fe_image_fail(in, "a count is too large");
	else if (n == 0 && in->error == NULL)
		read_registers(heap, acc, in);
	else if (n > 1)
		read_entries(heap, acc, (uint32) n - 1, in);
}

const FeAccKind fe_acc_hll = {
	.name = "hyperloglog",
	.append_only = true,
	.has_seq = true,
	.prepare = hll_prepare,
	.apply = hll_apply,
	.combine = hll_combine,
	.clear = hll_clear,
	.room = hll_room,
	.read_create = hll_read_create,
	.read_reset = hll_read_reset,
	.read_add = hll_read_add,
	.read_final = hll_read_final,
	.image_write = hll_image_write,
	.image_read = hll_image_read
};
