/*
 * pg_doubles.h
 *		Stand-ins for the server's functions, so that a unit test can link files
 *		of src/ without a server.  Include it once, in the test program.
 *
 * Memory comes from malloc, so that sanitizers see each piece.  An ERROR ends
 * in the innermost TEST_TRY; without one, the program ends.
 */
#ifndef FE_PG_DOUBLES_H
#define FE_PG_DOUBLES_H

#include "postgres.h"

#include <setjmp.h>
#include <stdarg.h>

#include "lib/stringinfo.h"
#include "runtime/compat.h"
#include "utils/memutils.h"

/* ---- errors --------------------------------------------------------------- */

static sigjmp_buf *test_catcher = NULL;
static int	test_error_code;	/* of the last ERROR */
static char test_error_message[1024];
static int	test_error_level;

/*
 * bool raised;
 * TEST_TRY(raised) { ... } TEST_END;
 */
#define TEST_TRY(raised) \
	do { \
		sigjmp_buf test_jump_, *test_outer_ = test_catcher; \
		if (sigsetjmp(test_jump_, 0) == 0) { \
			test_catcher = &test_jump_; \
			(raised) = false; \
			{
#define TEST_END(raised) \
			} \
		} else \
			(raised) = true; \
		test_catcher = test_outer_; \
	} while (0)

bool
errstart(int elevel, const char *domain)
{
	test_error_level = elevel;
	test_error_code = ERRCODE_INTERNAL_ERROR;
	test_error_message[0] = '\0';
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	if (test_error_level < ERROR)
		return;
	if (test_catcher == NULL)
	{
		printf("Bail out! %s:%d: %s\n", filename, lineno, test_error_message);
		exit(1);
	}
	siglongjmp(*test_catcher, 1);
}

int
errcode(int sqlerrcode)
{
	test_error_code = sqlerrcode;
	return 0;
}

#define TEST_STORE_MESSAGE(fmt) \
	do { \
		va_list		ap_; \
		va_start(ap_, fmt); \
		vsnprintf(test_error_message, sizeof(test_error_message), fmt, ap_); \
		va_end(ap_); \
	} while (0)

int
errmsg(const char *fmt,...)
{
	TEST_STORE_MESSAGE(fmt);
	return 0;
}

int
errmsg_internal(const char *fmt,...)
{
	TEST_STORE_MESSAGE(fmt);
	return 0;
}

int
errdetail(const char *fmt,...)
{
	return 0;
}

int
errhint(const char *fmt,...)
{
	return 0;
}

void
ExceptionalCondition(FE_COMPAT_ASSERTION_ARGS)
{
	printf("Bail out! %s:%d: assertion failed: %s\n", file, line, condition);
	abort();
}

/* ---- memory ----------------------------------------------------------------- */

static void *
test_checked(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

void *
palloc(Size size)
{
	return test_checked(malloc(Max(size, 1)));
}

void *
palloc0(Size size)
{
	return test_checked(calloc(1, Max(size, 1)));
}

void *
repalloc(void *p, Size size)
{
	return test_checked(realloc(p, Max(size, 1)));
}

void
pfree(void *p)
{
	free(p);
}

/* ---- strings ------------------------------------------------------------------ */

void
initStringInfo(StringInfo str)
{
	str->maxlen = 64;
	str->data = palloc(str->maxlen);
	resetStringInfo(str);
}

void
resetStringInfo(StringInfo str)
{
	str->data[0] = '\0';
	str->len = 0;
	str->cursor = 0;
}

/* No more than asked for: what writes beyond is found. */
void
enlargeStringInfo(StringInfo str, int needed)
{
	if (needed < 0 || (Size) needed >= MaxAllocSize - (Size) str->len)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("out of memory")));
	needed += str->len + 1;
	if (needed <= str->maxlen)
		return;
	str->data = repalloc(str->data, needed);
	str->maxlen = needed;
}

void
appendBinaryStringInfo(StringInfo str, FeCompatBinary *data, int datalen)
{
	enlargeStringInfo(str, datalen);
	memcpy(str->data + str->len, data, datalen);
	str->len += datalen;
	str->data[str->len] = '\0';
}

#endif							/* FE_PG_DOUBLES_H */
