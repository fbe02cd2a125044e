/*
 * hll.h
 *		HyperLogLog: approx_count_distinct (private to this room).  What the
 *		accumulator kind and the SQL aggregate share.
 *
 * 2^14 registers (Flajolet, Fusy, Gandouet, Meunier, HyperLogLog, 2007) with
 * Ertl's improved estimator (New cardinality estimation algorithms for HyperLogLog
 * sketches, 2017, algorithm 6), which needs no tables: standard error 1.04 /
 * sqrt(2^14) = 0.81 %.  Up to FE_HLL_SPARSE different values the sketch is a list
 * of 32-bit entries with 2^25 places (Heule, Nunkesser, Hall, HyperLogLog in
 * practice, 2013), whose count is all but exact.
 *
 * Which of the two a set of values has depends on the set alone, and so does its
 * content: neither order nor division into parts change a result.
 */
#ifndef FE_HLL_H
#define FE_HLL_H

#include "aggregate/kinds.h"

#define FE_HLL_BITS			14
#define FE_HLL_REGISTERS	(1 << FE_HLL_BITS)
#define FE_HLL_MOST			(64 - FE_HLL_BITS + 1)	/* a register's greatest value */
#define FE_HLL_SPARSE_BITS	25
#define FE_HLL_SPARSE		2048	/* entries at most */

/*
 * An entry: the hash's first 25 bits, then in 6 bits the place of the first 1
 * among the others.  Entries of one place are united to the greatest.
 */
#define FE_HLL_RANK_BITS	6
#define FE_HLL_PLACE(entry)	((entry) >> FE_HLL_RANK_BITS)
#define FE_HLL_RANK(entry)	((entry) & ((1 << FE_HLL_RANK_BITS) - 1))

extern uint32 fe_hll_entry(uint64 hash);
/* Could the bytes of a sketch hold this entry? */
extern bool fe_hll_entry_is_valid(uint32 entry);

/* The register of an entry, and what it is to be at least. */
static inline uint32
fe_hll_register(uint32 entry, uint8 *value)
{
	const int	more = FE_HLL_SPARSE_BITS - FE_HLL_BITS;
	uint32		place = FE_HLL_PLACE(entry);
	uint32		below = place & ((1 << more) - 1);

	/* 11 bits more than a register's number: the first 1 may be among them */
	*value = below == 0 ? more + FE_HLL_RANK(entry) : __builtin_clz(below) - (32 - more) + 1;
	return place >> more;
}

extern int64 fe_hll_estimate_sparse(int entries);
extern int64 fe_hll_estimate(const uint8 *registers);

/*
 * 64-bit hash of values of a type, by its extended hash function, or of the bits
 * where these tell what is equal.
 */
typedef struct FeHllHash
{
	Oid			type;
	Oid			collation;
	int			bits;			/* of a by-value type hashed by its bits, else 0 */
	FmgrInfo	fn;
} FeHllHash;

/* False: the type has no extended hash function. */
extern bool fe_hll_hash_init(FeHllHash *hash, Oid type, Oid collation, MemoryContext cxt);
/* May raise an error, where the type's function does. */
extern uint64 fe_hll_hash(FeHllHash *hash, Datum value);

/* A sketch in local memory. */
typedef struct FeHll
{
	MemoryContext cxt;
	int			n;				/* entries; those below `sorted` are in order */
	int			sorted;
	int			size;
	uint32	   *entries;
	bool		dense;			/* registers instead of entries */
	uint8	   *registers;		/* FE_HLL_REGISTERS of them */
} FeHll;

extern FeHll *fe_hll_create(MemoryContext cxt);
extern void fe_hll_reset(FeHll *hll);
extern void fe_hll_add(FeHll *hll, uint32 entry);
extern void fe_hll_add_registers(FeHll *hll, const uint8 *registers, int first, int n);
/* Brings it into its only form. */
extern void fe_hll_tidy(FeHll *hll);
extern int64 fe_hll_count(FeHll *hll);

#endif							/* FE_HLL_H */
