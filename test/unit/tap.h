/*
 * tap.h
 *		What a test program prints: a line for each check and, at the end, how many
 *		there were (TAP).  Include it once, in the program itself.
 */
#ifndef FE_TAP_H
#define FE_TAP_H

#include <stdbool.h>
#include <stdio.h>

static int	ntests = 0;
static int	nfailed = 0;

/* Flushed, so that what a crash leaves behind tells how far it came. */
static inline void
ok(bool pass, const char *name)
{
	ntests++;
	if (!pass)
		nfailed++;
	printf("%sok %d - %s\n", pass ? "" : "not ", ntests, name);
	fflush(stdout);
}

/* Ends main(): what it returns is the exit status. */
static inline int
done_testing(void)
{
	printf("1..%d\n", ntests);
	return nfailed > 0;
}

#endif							/* FE_TAP_H */
